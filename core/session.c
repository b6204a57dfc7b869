#include "core/session.h"
#include "core/backends.h"
#include "core/host.h"
#include "core/log.h"
#include "core/paths.h"
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

/* The first signal asks the work to end, the second ends the program. */
static void interrupt(int signal_number)
{
    (void)signal_number;
    job_cancel_all();
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = interrupt, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    struct sigaction hangup;
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN) /* nohup has it ignored */
        sigaction(SIGHUP, &action, NULL);
    signal(SIGXFSZ, SIG_IGN); /* a file that grows too large is an error like any other */
}

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

static qc_status load_backends(session *s, qc_job *job)
{
    const recipe *r = s->recipe;
    const backend_choice choice = {.name = r->run.backend,
                                   .pins = (const char *const *)r->run.ops.items,
                                   .n_pins = r->run.ops.n,
                                   .allow_inexact = !r->run.exact};
    return registry_load_backends(s->registry, job, &choice);
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
        status = load_backends(s, job);
    path_list_free(folders, n_folders);
    free(given);
    return status;
}

static qc_status open_all(session *s, qc_job *job, unsigned needs)
{
    const run_options *o = s->options;
    qc_status status = recipe_open(job, o->recipe, o->sets, o->n_sets, needs, &s->recipe);
    if (status == QC_OK)
        status = open_registry(s, job);
    return status == QC_OK ? roles_open(job, &s->roles) : status;
}

qc_status session_start_workers(session *s, qc_job *job, unsigned most)
{
    unsigned wanted = s->options->threads ? s->options->threads : s->recipe->run.threads;
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned n = wanted ? wanted : cpus > 0 ? (unsigned)cpus : 1;
    if (most && n > most)
        n = most;
    if (wanted > n)
        log_say(s->host, QC_LOG_INFO, "run.memory allows %u of %u threads", n, wanted);
    if (s->workers && pool_threads(s->workers) == n)
        return QC_OK;
    pool_free(s->workers);
    s->workers = pool_new(s->host, n);
    return s->workers ? QC_OK : qc_fail(job, QC_E_NOMEM, "out of memory for threads");
}

qc_status session_worker_status(session *s, qc_job *job, qc_status status)
{
    qc_job *worker = pool_job(s->workers);
    if (status == QC_OK && job_cancelled())
        status = qc_fail(worker, QC_E_CANCELLED, "interrupted");
    return status == QC_OK ? QC_OK : job->fail(job, status, job_message(worker));
}

void session_show(session *s, uint64_t steps)
{
    progress_free(s->progress);
    s->progress = progress_new(steps, s->options->quiet);
}

int session_run(const run_options *options, unsigned needs, session_body body, void *arg)
{
    session s = {.options = options, .host = host_new()};
    s.planner = s.host ? pool_new(s.host, 1) : NULL;
    qc_status status = QC_E_NOMEM;
    catch_signals();
    if (s.planner) {
        host_set_log(s.host, log_beside_bar, &s);
        qc_job *job = pool_job(s.planner);
        status = open_all(&s, job, needs);
        if (status == QC_OK)
            status = body(&s, job, arg);
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
