#include "core/recipe.h"
#include "core/override.h"
#include "core/paths.h"
#include "core/rules.h"
#include "core/site.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static qc_status no_memory(qc_job *job)
{
    job->fail(job, QC_E_NOMEM, "out of memory for a recipe");
    return QC_E_NOMEM;
}

static qc_status read_model(qc_job *job, const yaml_node *value, void *into)
{
    static const field fields[] = {{"path", read_text, offsetof(recipe, model.path)},
                                   {"format", read_use, offsetof(recipe, model.format)},
                                   {"architecture", read_use, offsetof(recipe, model.architecture)},
                                   {"tokenizer", read_use, offsetof(recipe, model.tokenizer)},
                                   {NULL, NULL, 0}};
    ((recipe *)into)->model.at = value->at;
    return fields_read(job, value, "model", fields, into);
}

static qc_status read_context(qc_job *job, const yaml_node *value, void *into)
{
    qc_status status = read_count(job, value, into);
    uint64_t n = status == QC_OK ? *(uint64_t *)into : RECIPE_CONTEXT;
    return n >= 8 && n <= 1 << 20 ? status
                                  : fail_at(job, value->at, QC_E_INVALID, "a context of 8 to 1048576 tokens is wanted");
}

/* The number of a word in a list that ends with NULL; 0: it is none of them. */
static int read_word(const yaml_node *value, const char *const *words, int *into)
{
    for (int i = 0; value->kind == YAML_TEXT && words[i]; i++)
        if (!strcmp(value->text, words[i])) {
            *into = i;
            return 1;
        }
    return 0;
}

static qc_status read_sequential(qc_job *job, const yaml_node *value, void *into)
{
    static const char *const words[] = {"none", "block", "linear", NULL}; /* in the order of SEQUENTIAL_* */
    if (read_word(value, words, into))
        return QC_OK;
    return fail_at(job, value->at, QC_E_INVALID, "sequential: none, block or linear is wanted");
}

static qc_status read_matmul(qc_job *job, const yaml_node *value, void *into)
{
    static const char *const words[] = {"exact", "quantized", NULL}; /* in the order of MATMUL_* */
    if (read_word(value, words, into))
        return QC_OK;
    return fail_at(job, value->at, QC_E_INVALID, "matmul: exact or quantized is wanted");
}

/* What is no file here may be the name of a text that is shipped: mixed is share/qcore/calibration/mixed.txt. */
static qc_status find_shipped(qc_job *job, text_list *texts)
{
    for (size_t i = 0; i < texts->n; i++) {
        char name[80], *path = NULL;
        if (access(texts->items[i], F_OK) == 0 || strchr(texts->items[i], '/'))
            continue;
        snprintf(name, sizeof name, "calibration/%.60s.txt", texts->items[i]);
        if (!(path = paths_share(name)))
            return no_memory(job);
        if (access(path, F_OK) == 0) {
            free(texts->items[i]);
            texts->items[i] = path;
        } else {
            free(path);
        }
    }
    return QC_OK;
}

static qc_status read_calibration(qc_job *job, const yaml_node *value, void *into)
{
    static const field fields[] = {{"imatrix", read_text, offsetof(recipe, calibration.imatrix)},
                                   {"text", read_texts, offsetof(recipe, calibration.text)},
                                   {"tokens", read_count, offsetof(recipe, calibration.tokens)},
                                   {"context", read_context, offsetof(recipe, calibration.context)},
                                   {"record", read_texts, offsetof(recipe, calibration.record)},
                                   {"sequential", read_sequential, offsetof(recipe, calibration.sequential)},
                                   {"output_weight", read_bool, offsetof(recipe, calibration.output_weight)},
                                   {"output", read_text, offsetof(recipe, calibration.output)},
                                   {NULL, NULL, 0}};
    recipe *r = into;
    r->calibration.at = value->at;
    qc_status status = fields_read(job, value, "calibration", fields, into);
    if (status != QC_OK)
        return status;
    if (r->calibration.imatrix && r->calibration.text.n)
        return fail_at(job, value->at, QC_E_INVALID,
                       "calibration takes either a text to run or an imatrix that was made before, not both");
    if (r->calibration.sequential && r->calibration.output)
        return fail_at(job, value->at, QC_E_INVALID,
                       "calibration.output saves what the original model's inputs are: leave sequential out, or make "
                       "the file with qcore calibrate");
    if (r->calibration.sequential && r->calibration.imatrix)
        return fail_at(job, value->at, QC_E_INVALID,
                       "calibration.sequential runs the model while it is quantized: it needs text:, not imatrix:");
    if (!r->calibration.imatrix && !r->calibration.text.n)
        return fail_at(job, value->at, QC_E_INVALID, "calibration needs text: (to run) or imatrix: (made before)");
    return find_shipped(job, &r->calibration.text);
}

static qc_status read_evaluate(qc_job *job, const yaml_node *value, void *into)
{
    static const field fields[] = {{"text", read_texts, offsetof(recipe, evaluate.text)},
                                   {"reference", read_text, offsetof(recipe, evaluate.reference)},
                                   {"tokens", read_count, offsetof(recipe, evaluate.tokens)},
                                   {"context", read_context, offsetof(recipe, evaluate.context)},
                                   {"stride", read_count, offsetof(recipe, evaluate.stride)},
                                   {"metrics", read_uses, offsetof(recipe, evaluate.metrics)},
                                   {"layers", read_bool, offsetof(recipe, evaluate.layers)},
                                   {NULL, NULL, 0}};
    recipe *r = into;
    r->evaluate.at = value->at;
    qc_status status = fields_read(job, value, "evaluate", fields, into);
    if (status == QC_OK && r->evaluate.stride > r->evaluate.context)
        return fail_at(job, value->at, QC_E_INVALID,
                       "evaluate.stride is larger than evaluate.context: text would be left out");
    return status;
}

static qc_status read_quantize(qc_job *job, const yaml_node *value, void *into)
{
    recipe *r = into;
    r->quantize.at = value->at;
    return rules_read(job, r->quantize.rules, value, 1);
}

static qc_status read_output(qc_job *job, const yaml_node *value, void *into)
{
    static const field fields[] = {{"path", read_text, offsetof(recipe, output.path)},
                                   {"format", read_use, offsetof(recipe, output.format)},
                                   {"overwrite", read_bool, offsetof(recipe, output.overwrite)},
                                   {NULL, NULL, 0}};
    ((recipe *)into)->output.at = value->at;
    return fields_read(job, value, "output", fields, into);
}

/* The recipe's folders come before the site's. */
static qc_status read_plugin_paths(qc_job *job, const yaml_node *value, void *into)
{
    recipe *r = into;
    text_list own = {0};
    qc_status status = read_texts(job, value, &own);
    char **all = status == QC_OK ? calloc(own.n + r->plugins.n_paths + 1, sizeof *all) : NULL;
    if (!all) {
        text_list_free(&own);
        return status == QC_OK ? no_memory(job) : status;
    }
    for (size_t i = 0; i < own.n + r->plugins.n_paths; i++)
        all[i] = i < own.n ? own.items[i] : r->plugins.paths[i - own.n];
    free(own.items);
    free(r->plugins.paths);
    r->plugins.paths = all;
    r->plugins.n_paths += own.n;
    return QC_OK;
}

static qc_status read_plugins(qc_job *job, const yaml_node *value, void *into)
{
    static const field fields[] = {{"path", read_plugin_paths, 0}, {NULL, NULL, 0}};
    return fields_read(job, value, "plugins", fields, into);
}

static qc_status read_threads(qc_job *job, const yaml_node *value, void *into)
{
    uint64_t n;
    qc_status status = read_count(job, value, &n);
    if (status == QC_OK && n > RUN_MAX_THREADS)
        status = fail_at(job, value->at, QC_E_INVALID, "at most %d threads", RUN_MAX_THREADS);
    if (status == QC_OK)
        *(unsigned *)into = (unsigned)n;
    return status;
}

static qc_status read_memory(qc_job *job, const yaml_node *value, void *into)
{
    qc_status status = read_bytes(job, value, into);
    if (status == QC_OK && *(uint64_t *)into < RUN_MIN_MEMORY)
        status = fail_at(job, value->at, QC_E_INVALID, "at least 1MiB of memory is needed");
    return status;
}

static qc_status read_run(qc_job *job, const yaml_node *value, void *into)
{
    static const field fields[] = {
        {"memory", read_memory, offsetof(recipe, run.memory)}, {"threads", read_threads, offsetof(recipe, run.threads)},
        {"seed", read_count, offsetof(recipe, run.seed)},      {"exact", read_bool, offsetof(recipe, run.exact)},
        {"matmul", read_matmul, offsetof(recipe, run.matmul)}, {"backend", read_text, offsetof(recipe, run.backend)},
        {"ops", read_texts, offsetof(recipe, run.ops)},        {NULL, NULL, 0}};
    return fields_read(job, value, "run", fields, into);
}

/* What the command cannot do without. */
static qc_status check_needs(qc_job *job, const yaml_node *root, const recipe *r, unsigned needs)
{
    const place top = {root->at.file, 0, 0};
    if (!r->model.path)
        return fail_at(job, r->model.at.file ? r->model.at : top, QC_E_INVALID, "model.path is missing: what to read");
    if (needs & RECIPE_OUTPUT && !r->output.path)
        return fail_at(job, r->output.at.file ? r->output.at : top, QC_E_INVALID,
                       "output.path is missing: where to write");
    if (needs & RECIPE_OUTPUT && !r->quantize.at.file)
        return fail_at(job, top, QC_E_INVALID,
                       "quantize is missing: name a preset (F16 converts without quantizing) or an encoding");
    if (needs & RECIPE_CALIBRATION && !r->calibration.text.n)
        return fail_at(job, top, QC_E_INVALID, "calibration.text is missing: what text to run the model on");
    if (needs & RECIPE_EVALUATE && !r->evaluate.at.file)
        return fail_at(job, top, QC_E_INVALID, "evaluate is missing: name a text, or metrics that bring their own");
    if (r->run.matmul == MATMUL_QUANTIZED && !r->evaluate.at.file)
        return fail_at(
            job, top, QC_E_INVALID,
            "run.matmul: quantized is for evaluation, and there is no evaluate: calibration and methods always "
            "run in float32");
    return QC_OK;
}

static qc_status read_recipe(qc_job *job, const yaml_node *root, recipe *r, unsigned needs)
{
    static const field fields[] = {{"model", read_model, 0},       {"calibration", read_calibration, 0},
                                   {"quantize", read_quantize, 0}, {"output", read_output, 0},
                                   {"evaluate", read_evaluate, 0}, {"plugins", read_plugins, 0},
                                   {"run", read_run, 0},           {NULL, NULL, 0}};
    qc_status status = fields_read(job, root, "a recipe", fields, r);
    if (status != QC_OK)
        return status;
    return check_needs(job, root, r, needs);
}

/* A copy of "PREFIX TEXT" that lives as long as the recipe; NULL when out of memory. */
static char *keep_name(recipe *r, const char *prefix, const char *text)
{
    size_t n = strlen(prefix) + strlen(text) + 1;
    char **names = realloc(r->names, (r->n_names + 1) * sizeof *names), *name = malloc(n);
    if (names)
        r->names = names;
    if (!names || !name) {
        free(name);
        return NULL;
    }
    snprintf(name, n, "%s%s", prefix, text);
    return r->names[r->n_names++] = name;
}

static qc_status read_tree(qc_job *job, recipe *r, const char *path, const override_arg *sets, size_t n_sets,
                           yaml_node **root)
{
    char *name = keep_name(r, "", path ? path : "command line");
    if (!name)
        return no_memory(job);
    r->path = path ? name : NULL;
    qc_status status = path ? yaml_read(job, name, root) : yaml_parse(job, name, "", 0, root);
    for (size_t i = 0; status == QC_OK && i < n_sets; i++) {
        char *set = sets[i].name ? keep_name(r, "", sets[i].name) : keep_name(r, "--set ", sets[i].set);
        status = set ? override_apply(job, *root, set, sets[i].set) : no_memory(job);
    }
    return status;
}

static qc_status load(qc_job *job, const char *path, const override_arg *sets, size_t n_sets, unsigned needs, recipe *r)
{
    yaml_node *root = NULL;
    r->run.memory = (uint64_t)1 << 30;
    r->run.exact = 1;
    r->calibration.context = r->evaluate.context = RECIPE_CONTEXT;
    r->evaluate.layers = -1;
    qc_status status = rules_new(job, &r->quantize.rules);
    if (status == QC_OK)
        status = site_apply(job, r);
    if (status == QC_OK)
        status = read_tree(job, r, path, sets, n_sets, &root);
    if (status == QC_OK)
        status = read_recipe(job, root, r, needs);
    yaml_node_free(root);
    if (status != QC_OK)
        return status;
    const rule_list *rules = r->quantize.rules;
    int importance = (r->calibration.imatrix || r->calibration.text.n) && rules->methods_with_importance.n;
    const use_list *methods = importance ? &rules->methods_with_importance : &rules->methods;
    r->quantize.methods = methods->items;
    r->quantize.n_methods = methods->n;
    return QC_OK;
}

qc_status recipe_open(qc_job *job, const char *path, const override_arg *sets, size_t n_sets, unsigned needs,
                      recipe **out)
{
    recipe *r = *out = calloc(1, sizeof *r);
    if (!r)
        return no_memory(job);
    qc_status status = load(job, path, sets, n_sets, needs, r);
    if (status != QC_OK) {
        recipe_free(r);
        *out = NULL;
    }
    return status;
}

static void free_names(char **names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(names[i]);
    free(names);
}

void recipe_free(recipe *r)
{
    if (!r)
        return;
    rules_free(r->quantize.rules);
    use_free(&r->model.format);
    use_free(&r->model.architecture);
    use_free(&r->model.tokenizer);
    use_free(&r->output.format);
    free_names(r->plugins.paths, r->plugins.n_paths);
    free_names(r->names, r->n_names);
    free(r->model.path);
    free(r->calibration.imatrix);
    free(r->calibration.output);
    text_list_free(&r->calibration.text);
    text_list_free(&r->calibration.record);
    free(r->evaluate.reference);
    text_list_free(&r->evaluate.text);
    use_list_free(&r->evaluate.metrics);
    free(r->output.path);
    free(r->run.backend);
    text_list_free(&r->run.ops);
    free(r);
}
