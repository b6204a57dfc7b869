/* qcore plugins: what is there. Reads manifests; only `check` opens all libraries, and backends are opened to say which runs. */
#include "core/backends.h"
#include "core/commands.h"
#include "core/host.h"
#include "core/job.h"
#include "core/log.h"
#include "core/manifest.h"
#include "core/paths.h"
#include "core/plugins_print.h"
#include "core/suggest.h"
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "qcore plugins: the methods, encodings, formats, ... that were found.\n"
    "\n"
    "  qcore plugins [list] [options]             one line each\n"
    "  qcore plugins show ID|KIND:ID [options]    all that is known of one, its settings among it\n"
    "  qcore plugins show --ops [options]         which backend each kernel is of, which CPU build each encoding\n"
    "  qcore plugins check [NAME ...] [options]   open the libraries (of these plugins or ids) and check what they "
    "hold\n"
    "\n"
    "      --kind KIND          list only methods, encodings, formats, backends, architectures, tokenizers or\n"
    "                           metrics\n"
    "      --broken             list only what cannot be used, and why\n"
    "      --json               for programs\n"
    "      --plugin-path DIR    look for plugins in DIR first; may be repeated\n"
    "      --cpu-mask LEVEL     take the CPU for less than it is (x86-v3, generic, ...)\n"
    "      --backend NAME       with --ops: as if a run had asked for that backend\n"
    "  -h, --help\n"
    "\n"
    "Examples\n"
    "  qcore plugins list --kind encoding\n"
    "  qcore plugins show method:imatrix\n"
    "  qcore plugins check --plugin-path ~/my-plugin/build\n"
    "\n"
    "In a recipe, settings of a plugin are given as {ID: {SETTING: VALUE}}.\n";

typedef struct options {
    const char *kind, *cpu_mask, *backend, **folders, **names;
    size_t n_folders, n_names;
    int broken, ops, json, help;
    char kind_word[64];
} options;

typedef struct context {
    qc_host *host;
    pool *pool;
    qc_job *job;
    registry *registry;
    const plugin_entry **chosen; /* room for all */
    size_t n_chosen;
} context;

/* ---- the command line ---- */

/* "--name value" or "--name=value": 1 and the value; -1 where the value is missing. */
static int value_option(int argc, char **argv, int *i, const char *name, const char **value)
{
    size_t n = strlen(name);
    if (strncmp(argv[*i], name, n) != 0 || (argv[*i][n] && argv[*i][n] != '='))
        return 0;
    if (argv[*i][n] == '=')
        *value = argv[*i] + n + 1;
    else if (*i + 1 < argc)
        *value = argv[++*i];
    else
        return -1;
    return 1;
}

static qc_status take_argument(qc_job *job, options *o, int argc, char **argv, int *i)
{
    const char *arg = argv[*i], *folder = NULL;
    int found = value_option(argc, argv, i, "--kind", &o->kind);
    if (!found)
        found = value_option(argc, argv, i, "--cpu-mask", &o->cpu_mask);
    if (!found)
        found = value_option(argc, argv, i, "--backend", &o->backend);
    if (!found && (found = value_option(argc, argv, i, "--plugin-path", &folder)) == 1)
        o->folders[o->n_folders++] = folder;
    if (found < 0)
        return qc_fail(job, QC_E_INVALID, "%s wants a value (see qcore plugins --help)", arg);
    if (found)
        return QC_OK;
    if (!strcmp(arg, "--json"))
        o->json = 1;
    else if (!strcmp(arg, "--broken"))
        o->broken = 1;
    else if (!strcmp(arg, "--ops"))
        o->ops = 1;
    else if (!strcmp(arg, "--help") || !strcmp(arg, "-h"))
        o->help = 1;
    else if (arg[0] == '-')
        return qc_fail(job, QC_E_INVALID, "unknown option %s (see qcore plugins --help)", arg);
    else
        o->names[o->n_names++] = arg;
    return QC_OK;
}

/* "methods" is as good as "method". */
static qc_status check_kind(qc_job *job, options *o)
{
    static const char *const kinds[] = {"method",       "encoding",  "format", "backend",
                                        "architecture", "tokenizer", "metric"};
    const char *nearest = NULL;
    if (!o->kind)
        return QC_OK;
    char *word = o->kind_word;
    size_t n = strlen(o->kind);
    snprintf(word, sizeof o->kind_word, "%.*s", (int)(n > 1 && n < 64 && o->kind[n - 1] == 's' ? n - 1 : n), o->kind);
    o->kind = word;
    if (kind_of_word(word) || strchr(word, '.') || !strcmp(word, "plugin"))
        return QC_OK;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        nearest = suggest_better(word, nearest, kinds[i]);
    if (nearest)
        return qc_fail(job, QC_E_INVALID, "no kind '%s'; did you mean '%s'?", word, nearest);
    return qc_fail(job, QC_E_INVALID,
                   "no kind '%s' (method, encoding, format, backend, architecture, tokenizer, metric)", word);
}

/* ---- list, show, check ---- */

static void choose(context *c, const plugin_entry *e)
{
    c->chosen[c->n_chosen++] = e;
}

/* As a run would, whose results have to be exact. */
static qc_status load_backends(context *c, const options *o)
{
    return registry_load_backends(c->registry, c->job, &(backend_choice){.name = o->backend});
}

static qc_status list(context *c, const options *o)
{
    for (size_t i = 0; i < registry_count(c->registry); i++) {
        const plugin_entry *e = registry_at(c->registry, i);
        if ((!o->kind || !strcmp(o->kind, e->kind)) && (!o->broken || e->state != PLUGIN_USABLE))
            choose(c, e);
    }
    int backends = !o->broken && (!o->kind || !strcmp(o->kind, "backend"));
    if (backends)
        load_backends(c, o); /* where one is missing, the list shows what there is */
    job_clear(c->job);
    print_plugin_list(c->registry, c->chosen, c->n_chosen, o->json);
    return QC_OK;
}

/* Is `name` this entry's id, its kind:id, or the name of its plugin? */
static int is_named(const plugin_entry *e, const char *name, int plugins_too)
{
    size_t n = strlen(e->kind);
    if (!strncmp(name, e->kind, n) && name[n] == ':')
        return !strcmp(name + n + 1, e->id);
    return !strcmp(name, e->id) || (plugins_too && e->manifest->name && !strcmp(name, e->manifest->name));
}

static qc_status choose_named(context *c, const char *name, int plugins_too)
{
    size_t before = c->n_chosen;
    const char *nearest = NULL;
    for (size_t i = 0; i < registry_count(c->registry); i++) {
        const plugin_entry *e = registry_at(c->registry, i);
        nearest = suggest_better(name, nearest, e->id);
        if (is_named(e, name, plugins_too))
            choose(c, e);
    }
    if (c->n_chosen > before)
        return QC_OK;
    if (nearest)
        return qc_fail(c->job, QC_E_INVALID, "no plugin '%s'; did you mean '%s'?", name, nearest);
    return qc_fail(c->job, QC_E_INVALID, "no plugin '%s' (see qcore plugins list)", name);
}

static qc_status show(context *c, const options *o)
{
    if (o->ops && !o->n_names) {
        qc_status status = load_backends(c, o);
        if (status == QC_OK)
            status = print_ops(c->registry, c->job, o->json);
        return status;
    }
    if (o->n_names != 1)
        return qc_fail(c->job, QC_E_INVALID, "show wants one ID or KIND:ID, as in: qcore plugins show method:imatrix");
    qc_status status = choose_named(c, o->names[0], 0);
    if (status == QC_OK)
        print_plugins(c->chosen, c->n_chosen, o->json);
    return status;
}

/* Opens a library; the entry keeps what was wrong with it. */
static void try_one(context *c, const plugin_entry *e)
{
    const void *desc;
    if (e->state == PLUGIN_USABLE)
        registry_open(c->registry, c->job, e->kind, e->id, &desc);
    job_clear(c->job);
}

static qc_status check(context *c, const options *o)
{
    qc_status status = QC_OK;
    for (size_t i = 0; i < o->n_names && status == QC_OK; i++)
        status = choose_named(c, o->names[i], 1);
    if (status != QC_OK)
        return status;
    for (size_t i = 0; !o->n_names && i < registry_count(c->registry); i++)
        choose(c, registry_at(c->registry, i));
    for (size_t i = 0; i < c->n_chosen && c->chosen[i]; i++)
        try_one(c, c->chosen[i]);
    size_t failed = print_checks(c->chosen, c->n_chosen, o->json);
    return failed ? qc_fail(c->job, QC_E_UNSUPPORTED, "%zu of %zu failed", failed, c->n_chosen) : QC_OK;
}

/* ---- all of it ---- */

static qc_status find_plugins(context *c, const options *o)
{
    char **folders = NULL;
    size_t n = 0;
    const char *mask = o->cpu_mask ? o->cpu_mask : getenv("QCORE_CPU_MASK");
    qc_status status = paths_plugins(c->job, o->folders, o->n_folders, &folders, &n);
    if (status == QC_OK)
        status = registry_new(c->job, (const char *const *)folders, n, mask, &c->registry);
    path_list_free(folders, n);
    if (status != QC_OK)
        return status;
    size_t room = registry_count(c->registry) * (o->n_names + 1) + 1;
    c->chosen = calloc(room, sizeof *c->chosen);
    return c->chosen ? QC_OK : qc_fail(c->job, QC_E_NOMEM, "out of memory");
}

static qc_status run(context *c, options *o)
{
    static const struct {
        const char *name;
        qc_status (*run)(context *c, const options *o);
    } commands[] = {{"list", list}, {"show", show}, {"check", check}};
    const char *name = o->n_names ? o->names[0] : "list";
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(name, commands[i].name) != 0)
            continue;
        if (o->n_names) {
            o->names++;
            o->n_names--;
        }
        if (commands[i].run == list && o->n_names)
            return qc_fail(c->job, QC_E_INVALID, "list takes no '%s' (see qcore plugins --help)", o->names[0]);
        if ((o->ops && (commands[i].run != show || o->n_names)) || (o->backend && !o->ops))
            return qc_fail(c->job, QC_E_INVALID, "--ops is for show alone, and --backend for show --ops");
        qc_status status = find_plugins(c, o);
        return status == QC_OK ? commands[i].run(c, o) : status;
    }
    return qc_fail(c->job, QC_E_INVALID, "unknown command '%s': list, show or check (see qcore plugins --help)", name);
}

static qc_status parse_and_run(context *c, options *o, int argc, char **argv)
{
    qc_status status = QC_OK;
    for (int i = 1; i < argc && status == QC_OK; i++)
        status = take_argument(c->job, o, argc, argv, &i);
    if (status == QC_OK)
        status = check_kind(c->job, o);
    if (status == QC_OK && o->help)
        return fputs(help, stdout), QC_OK;
    return status == QC_OK ? run(c, o) : status;
}

int cmd_plugins(int argc, char **argv)
{
    context c = {.host = host_new()};
    const char **lists = calloc(2 * (size_t)argc + 2, sizeof *lists);
    options o = {.folders = lists, .names = lists ? lists + argc : NULL};
    qc_status status = QC_E_NOMEM;
    c.pool = c.host ? pool_new(c.host, 1) : NULL;
    if (c.pool && lists) {
        c.job = pool_job(c.pool);
        status = parse_and_run(&c, &o, argc, argv);
        if (status == QC_OK)
            status = flush_stdout(c.job);
    }
    if (status != QC_OK)
        log_to_stderr(NULL, QC_LOG_ERROR, c.job ? job_message(c.job) : "out of memory");
    registry_free(c.registry);
    pool_free(c.pool);
    host_free(c.host);
    free(c.chosen);
    free(lists);
    return exit_code(status);
}
