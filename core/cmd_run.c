/* qcore -c RECIPE: from the recipe to the report. */
#include "core/commands.h"
#include "core/host.h"
#include "core/job.h"
#include "core/log.h"
#include "core/paths.h"
#include "core/report.h"
#include "core/roles.h"
#include "core/rules.h"
#include <stdlib.h>

/* All that lives for a run; freed in the reverse order. */
typedef struct session {
    const run_options *options;
    qc_host *host;
    pool *planner, *workers; /* one thread to plan with; as many as memory allows to work with */
    recipe *recipe;
    registry *registry;
    role_table *roles;
    model *model;
    statistics *statistics;
    plan *plan;
    output *output;
    pipeline *pipeline;
    progress *progress;
} session;

/* Warnings do not run into the bar. */
static void log_beside_bar(void *arg, int level, const char *message)
{
    const session *s = arg;
    progress_clear(s->progress);
    log_to_stderr(NULL, level, message);
}

static void session_end(session *s)
{
    progress_free(s->progress);
    pipeline_free(s->pipeline);
    output_free(s->output);
    plan_free(s->plan);
    statistics_free(s->statistics);
    model_free(s->model);
    roles_free(s->roles);
    registry_free(s->registry);
    recipe_free(s->recipe);
    pool_free(s->workers);
    pool_free(s->planner);
    host_free(s->host);
}

/* In one line, whatever their number: a run that names none of them goes on. */
static void warn_of_unusable(const session *s)
{
    const plugin_entry *first;
    size_t n = registry_unusable(s->registry, &first);
    const char *why = first && first->why ? first->why : "broken";
    if (n == 1)
        log_say(s->host, QC_LOG_WARNING, "a plugin is unusable: %s", why);
    else if (n)
        log_say(s->host, QC_LOG_WARNING,
                "%zu plugins are unusable, as qcore plugins list --broken tells; the first: %s", n, why);
}

/* The command line's folders, then the recipe's, then the usual ones. */
static qc_status open_registry(session *s, qc_job *job)
{
    const run_options *o = s->options;
    size_t n = o->n_plugin_paths + s->recipe->plugins.n_paths, n_folders = 0;
    const char **given = malloc((n + 1) * sizeof *given);
    char **folders = NULL;
    if (!given)
        return qc_fail(job, QC_E_NOMEM, "out of memory for the search path");
    for (size_t i = 0; i < n; i++)
        given[i] = i < o->n_plugin_paths ? o->plugin_paths[i] : s->recipe->plugins.paths[i - o->n_plugin_paths];
    qc_status status = paths_plugins(job, given, n, &folders, &n_folders);
    const char *mask = o->cpu_mask ? o->cpu_mask : getenv("QCORE_CPU_MASK");
    if (status == QC_OK)
        status = registry_new(job, (const char *const *)folders, n_folders, mask, &s->registry);
    if (status == QC_OK)
        warn_of_unusable(s);
    if (status == QC_OK)
        status = registry_load_backends(s->registry, job, !s->recipe->run.exact);
    path_list_free(folders, n_folders);
    free(given);
    return status;
}

static qc_status make_plan(session *s, qc_job *job)
{
    const run_options *o = s->options;
    qc_status status = recipe_open(job, o->recipe, o->sets, o->n_sets, &s->recipe);
    if (status == QC_OK)
        status = open_registry(s, job);
    if (status == QC_OK)
        status = roles_open(job, &s->roles);
    if (status == QC_OK)
        status = rules_check_roles(job, s->recipe->quantize.rules, s->roles);
    if (status == QC_OK)
        status = model_open(job, s->registry, s->recipe, s->roles, &s->model);
    if (status == QC_OK)
        status = statistics_open(job, s->registry, s->recipe, s->model, &s->statistics);
    if (status == QC_OK)
        status = plan_make(job, s->registry, s->recipe, s->model, s->statistics, &s->plan);
    return status;
}

/* Threads after the plan: how many there can be hangs on what each will hold. */
static qc_status start_workers(session *s, qc_job *job)
{
    unsigned wanted = s->options->threads ? s->options->threads : s->recipe->run.threads, n = 0;
    qc_status status = pipeline_threads(s->pipeline, job, wanted, &n);
    if (status != QC_OK)
        return status;
    if (wanted > n)
        log_say(s->host, QC_LOG_INFO, "run.memory allows %u of %u threads", n, wanted);
    s->workers = pool_new(s->host, n);
    s->progress = progress_new(pipeline_bytes(s->pipeline), s->options->quiet);
    return s->workers ? QC_OK : qc_fail(job, QC_E_NOMEM, "out of memory for threads");
}

static void report_run(const session *s)
{
    const report r = {.plan = s->plan,
                      .results = pipeline_results(s->pipeline),
                      .output_bytes = output_bytes(s->output),
                      .seconds = progress_seconds(s->progress),
                      .threads = pool_threads(s->workers)};
    if (s->options->json)
        report_json(&r, stdout);
    else if (!s->options->quiet)
        report_print(&r, stdout);
}

static qc_status work(session *s, qc_job *job)
{
    qc_status status = output_open(job, s->registry, s->plan, &s->output);
    if (status == QC_OK)
        status = pipeline_new(job, s->registry, s->plan, s->statistics, s->output, &s->pipeline);
    if (status == QC_OK)
        status = start_workers(s, job);
    if (status != QC_OK)
        return status;
    qc_job *worker = pool_job(s->workers);
    status = pipeline_run(s->pipeline, worker, s->progress);
    if (status == QC_OK && job_cancelled())
        status = qc_fail(worker, QC_E_CANCELLED, "interrupted");
    if (status != QC_OK)
        return job->fail(job, status, job_message(worker));
    status = output_commit(s->output, job);
    if (status != QC_OK)
        return status;
    progress_clear(s->progress); /* or the report would begin in the bar's line */
    report_run(s);
    return QC_OK;
}

static qc_status run(session *s, qc_job *job)
{
    qc_status status = make_plan(s, job);
    if (status != QC_OK)
        return status;
    if (!s->options->dry_run)
        return work(s, job);
    plan_print(s->plan, s->options->json);
    return QC_OK;
}

int cmd_run(const run_options *options)
{
    session s = {.options = options, .host = host_new()};
    s.planner = s.host ? pool_new(s.host, 1) : NULL;
    qc_status status = QC_E_NOMEM;
    if (s.planner) {
        host_set_log(s.host, log_beside_bar, &s);
        qc_job *job = pool_job(s.planner);
        status = run(&s, job);
        if (status == QC_OK)
            status = flush_stdout(job);
        progress_free(s.progress); /* the bar goes before the message comes */
        s.progress = NULL;
        if (status != QC_OK)
            fprintf(stderr, "qcore: error: %s\n", job_message(job));
    } else {
        fputs("qcore: error: out of memory\n", stderr);
    }
    session_end(&s);
    return exit_code(status);
}
