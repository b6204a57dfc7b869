/* What every command that opens a model begins and ends with: host, threads, recipe, plugins, roles. */
#ifndef CORE_SESSION_H
#define CORE_SESSION_H

#include "core/commands.h"
#include "core/job.h"
#include "core/options.h"
#include "core/progress.h"
#include "core/recipe.h"
#include "core/registry.h"
#include "core/roles.h"

typedef struct session {
    const run_options *options;
    qc_host *host;
    pool *planner, *workers; /* one thread to plan with; as many as are wanted, or fit, to work with */
    recipe *recipe;
    registry *registry;
    role_table *roles;
    progress *progress; /* messages do not run into its bar; freed at the end */
} session;

/* A command's own part: `arg` is its own struct. Fails through `job`. */
typedef qc_status (*session_body)(session *s, qc_job *job, void *arg);

/* Opens everything but workers, runs the body, says what failed in one line, frees, returns the exit code. needs:
 * RECIPE_*. */
int session_run(const run_options *options, unsigned needs, session_body body, void *arg);

/* Workers: as many threads as options or recipe want, at most `most` (0: no bound). */
qc_status session_start_workers(session *s, qc_job *job, unsigned most);
/* A failure of the workers' job becomes the planner's. */
qc_status session_worker_status(session *s, qc_job *job, qc_status status);
/* A bar of so many steps in place of the one before. */
void session_show(session *s, uint64_t steps);

#endif
