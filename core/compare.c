#include "core/compare.h"
#include "core/log.h"
#include "core/paths.h"
#include "core/quantize.h"
#include "core/rules.h"
#include "core/target.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct scheme {
    char *preset, *name, *path; /* as given; without folder and .yaml; of its output */
    recipe *recipe;
    int by_blocks; /* it records its own statistics */
    quantization quantization;
} scheme;

struct schemes {
    session *session;
    const char *keep;
    char *folder; /* of outputs */
    scheme *items;
    size_t n;
    model *model;
    evaluator *evaluator;
    statistics *statistics;
    comparison comparison;
};

static qc_status no_memory(qc_job *job)
{
    job->fail(job, QC_E_NOMEM, "out of memory for schemes");
    return QC_E_NOMEM;
}

/* ---- names ---- */

/* "a/b/mix.yaml" to "mix"; owned. Of a folder ("Llama-3.2-1B/") the whole name. */
static char *stem(const char *path, int is_file)
{
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/')
        end--;
    size_t begin = end, dot = end;
    while (begin > 0 && path[begin - 1] != '/')
        begin--;
    while (is_file && dot > begin && path[dot] != '.')
        dot--;
    return strndup(path + begin, (dot > begin ? dot : end) - begin);
}

static int is_file(const char *path)
{
    struct stat found;
    return stat(path, &found) == 0 && S_ISREG(found.st_mode);
}

/* "FOLDER/tale-Q4_K_M.gguf" */
static char *output_path(const schemes *c, const scheme *one)
{
    const char *model_path = c->session->recipe->model.path;
    char *model_name = stem(model_path, is_file(model_path)), *path = NULL;
    size_t room = model_name ? strlen(model_name) + strlen(one->name) + sizeof "model-.gguf" : 0;
    char *file = model_name ? malloc(room) : NULL;
    if (file) {
        int has_name = strspn(model_name, "./") < strlen(model_name);
        snprintf(file, room, "%s-%s.gguf", has_name ? model_name : "model", one->name);
        path = path_join(c->folder, file);
    }
    free(file);
    free(model_name);
    return path;
}

/* Folders that are not there yet are made when the first file is. */
static qc_status take_folder(schemes *c, qc_job *job)
{
    struct stat found;
    if (!*c->keep || (stat(c->keep, &found) == 0 && !S_ISDIR(found.st_mode)))
        return qc_fail(job, QC_E_INVALID, "--keep wants a folder, not '%s'", c->keep);
    c->folder = strdup(c->keep);
    return c->folder ? QC_OK : no_memory(job);
}

static qc_status make_folder(schemes *c, qc_job *job)
{
    const char *temporary = getenv("TMPDIR");
    c->folder = path_join(temporary && *temporary ? temporary : "/tmp", "qcore-XXXXXX");
    if (!c->folder)
        return no_memory(job);
    if (mkdtemp(c->folder))
        return QC_OK;
    qc_status status = qc_fail(job, QC_E_IO, "cannot make a temporary folder %s: %s", c->folder, strerror(errno));
    free(c->folder);
    c->folder = NULL;
    return status;
}

/* ---- one recipe a scheme ---- */

/* The command line's overrides, then where the output goes, then the preset. */
static qc_status open_recipe(schemes *c, qc_job *job, scheme *one)
{
    enum { OUTPUT, PATH, PRESET, N_OWN };
    static const option_spec specs[N_OWN] = {{"keep", OPTION_YAML, "output"},
                                             {"keep", OPTION_TEXT, "output.path"},
                                             {"presets", OPTION_TEXT, "quantize.preset"}};
    const run_options *o = c->session->options;
    const char *overwrite = !c->keep || c->session->recipe->output.overwrite ? "{overwrite: true}" : "{}";
    const char *values[N_OWN] = {overwrite, one->path, one->preset};
    char *owned[N_OWN];
    override_arg *sets = malloc((o->n_sets + N_OWN) * sizeof *sets);
    qc_status status = sets ? QC_OK : no_memory(job);
    if (sets && o->n_sets)
        memcpy(sets, o->sets, o->n_sets * sizeof *sets);
    for (size_t i = 0; i < N_OWN; i++) {
        owned[i] = options_override(&specs[i], values[i], 0);
        if (sets)
            sets[o->n_sets + i] = (override_arg){i == PRESET ? "--presets" : "--keep", owned[i]};
        status = owned[i] ? status : no_memory(job);
    }
    if (status == QC_OK)
        status = recipe_open(job, o->recipe, sets, o->n_sets + N_OWN, RECIPE_OUTPUT | RECIPE_EVALUATE, &one->recipe);
    const rule_list *rules = status == QC_OK ? one->recipe->quantize.rules : NULL;
    if (rules && rules->own_encoding)
        status = fail_at(
            job, rules->encoding_at, QC_E_INVALID,
            "quantize.encoding stands over every preset's own, so all schemes would be alike: leave it out");
    if (status == QC_OK)
        status = rules_check_roles(job, rules, c->session->roles);
    for (size_t i = 0; i < N_OWN; i++)
        free(owned[i]);
    free(sets);
    return status;
}

static qc_status check_name(const schemes *c, qc_job *job, const scheme *one)
{
    for (const scheme *other = c->items; other < one; other++)
        if (!strcmp(other->name, one->name))
            return qc_fail(job, QC_E_INVALID, "--presets names %s twice", one->name);
    return c->keep ? target_try(job, one->path, c->session->recipe->output.overwrite) : QC_OK;
}

static qc_status open_scheme(schemes *c, qc_job *job, const char *preset, size_t length)
{
    scheme *one = &c->items[c->n++];
    one->preset = strndup(preset, length);
    one->name = one->preset ? stem(one->preset, strstr(one->preset, ".yaml") != NULL) : NULL;
    one->path = one->name ? output_path(c, one) : NULL;
    if (!one->path)
        return no_memory(job);
    qc_status status = check_name(c, job, one);
    return status == QC_OK ? open_recipe(c, job, one) : status;
}

int next_preset(const char **list, const char **preset, size_t *length)
{
    *list += strspn(*list, " ,");
    *preset = *list;
    *length = strcspn(*list, ",");
    *list += *length;
    while (*length > 0 && (*preset)[*length - 1] == ' ')
        --*length;
    return *length > 0;
}

qc_status schemes_open(session *s, qc_job *job, const char *presets, const char *keep, schemes **out)
{
    schemes *c = *out = calloc(1, sizeof *c);
    if (!c)
        return no_memory(job);
    c->session = s;
    c->keep = keep;
    c->items = calloc(strlen(presets) + 1, sizeof *c->items); /* more than there are commas */
    c->comparison.rows = calloc(strlen(presets) + 2, sizeof *c->comparison.rows);
    if (!c->items || !c->comparison.rows)
        return no_memory(job);
    qc_status status = keep ? take_folder(c, job) : make_folder(c, job);
    const char *preset;
    size_t length;
    while (status == QC_OK && next_preset(&presets, &preset, &length))
        status = open_scheme(c, job, preset, length);
    if (status == QC_OK && c->n == 0)
        status = qc_fail(job, QC_E_INVALID, "--presets names none");
    c->comparison.registry = s->registry;
    c->comparison.model = s->recipe->model.path;
    c->comparison.n_wanted = c->n + 1;
    return status;
}

/* ---- what all share ---- */

/* What the methods of schemes want is recorded once; those that run block by block record their own. */
static qc_status calibrate_for_all(schemes *c, qc_job *job)
{
    const recipe *rec = c->session->recipe->calibration.imatrix ? c->items[0].recipe : NULL;
    uint32_t all = 0, wanted = 0;
    qc_status status = QC_OK;
    for (size_t i = 0; i < c->n && status == QC_OK && c->items[i].recipe->calibration.text.n; i++) {
        scheme *one = &c->items[i];
        status = blocks_wanted(job, c->session->registry, one->recipe, &one->by_blocks);
        if (status == QC_OK)
            status = statistics_wanted(job, c->session->registry, one->recipe, &wanted);
        if (status != QC_OK || one->by_blocks)
            continue;
        rec = rec ? rec : one->recipe;
        all |= wanted;
    }
    return status == QC_OK && rec ? calibrate(c->session, job, rec, c->model, all, &c->statistics) : status;
}

/* Before any work, so that what cannot be done is said at once. */
static qc_status plan_all(schemes *c, qc_job *job)
{
    qc_status status = QC_OK;
    for (size_t i = 0; i < c->n && status == QC_OK; i++) {
        scheme *one = &c->items[i];
        one->quantization = (quantization){.session = c->session,
                                           .recipe = one->recipe,
                                           .model = c->model,
                                           .statistics = one->by_blocks ? NULL : c->statistics,
                                           .shared = c->n > 1};
        status = quantization_plan(&one->quantization, job);
        if (status != QC_OK)
            job_add_context(job, "%s", one->name);
    }
    return status;
}

static qc_status prepare(schemes *c, qc_job *job)
{
    session *s = c->session;
    qc_status status = open_model(s, job, s->recipe, NULL, &c->model);
    if (status == QC_OK)
        status = evaluator_open(job, s->registry, s->recipe, c->model, c->model, &c->evaluator);
    if (status == QC_OK)
        status = calibrate_for_all(c, job);
    return status == QC_OK ? plan_all(c, job) : status;
}

/* ---- rows ---- */

static void say(const schemes *c, const compared *row)
{
    char message[200];
    snprintf(message, sizeof message, "%.100s (%zu of %zu)", row->name, c->comparison.n_rows + 1,
             c->comparison.n_wanted);
    if (!c->session->options->quiet)
        log_to_stderr(NULL, QC_LOG_INFO, message);
}

static qc_status compare_original(schemes *c, qc_job *job)
{
    const plan *p = c->items[0].quantization.plan;
    compared *row = &c->comparison.rows[0];
    *row = (compared){.name = "original", .bits = p->bits_stored, .bytes = p->stored};
    say(c, row);
    qc_status status = judge_metrics(c->session, job, c->evaluator, c->model, &row->judgement);
    c->comparison.n_rows += status == QC_OK;
    return status;
}

/* The output is opened like any other file: what counts is what a client will read. */
static qc_status judge_output(schemes *c, qc_job *job, const scheme *one, compared *row)
{
    model *written = NULL;
    qc_status status = open_model(c->session, job, one->recipe, one->path, &written);
    if (status == QC_OK)
        status = judge_metrics(c->session, job, c->evaluator, written, &row->judgement);
    model_free(written);
    return status;
}

static qc_status compare_scheme(schemes *c, qc_job *job, scheme *one)
{
    quantization *q = &one->quantization;
    compared *row = &c->comparison.rows[c->comparison.n_rows];
    *row = (compared){.name = one->name, .file = c->keep ? one->path : NULL};
    say(c, row);
    qc_status status = quantization_work(q, job);
    row->bits = q->plan->bits;
    row->bytes = q->plan->bytes;
    row->seconds = q->seconds;
    quantization_free(q);
    if (status == QC_OK)
        status = judge_output(c, job, one, row);
    if (!c->keep)
        unlink(one->path);
    if (status != QC_OK)
        job_add_context(job, "%s", one->name);
    c->comparison.n_rows += status == QC_OK;
    return status;
}

qc_status schemes_compare(schemes *c, qc_job *job)
{
    qc_status status = prepare(c, job);
    if (status == QC_OK)
        status = compare_original(c, job);
    for (size_t i = 0; i < c->n && status == QC_OK; i++)
        status = compare_scheme(c, job, &c->items[i]);
    return status;
}

const comparison *schemes_comparison(const schemes *c)
{
    return &c->comparison;
}

void schemes_free(schemes *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->n; i++) {
        scheme *one = &c->items[i];
        quantization_free(&one->quantization);
        recipe_free(one->recipe);
        free(one->path);
        free(one->name);
        free(one->preset);
    }
    for (size_t i = 0; c->comparison.rows && i < c->comparison.n_wanted; i++)
        judgement_free(&c->comparison.rows[i].judgement);
    if (c->folder && !c->keep)
        rmdir(c->folder);
    evaluator_free(c->evaluator);
    statistics_free(c->statistics);
    model_free(c->model);
    free(c->comparison.rows);
    free(c->items);
    free(c->folder);
    free(c);
}
