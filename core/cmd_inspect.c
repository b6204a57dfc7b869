/* qcore inspect MODEL: range and tails of every tensor, and the channels of inputs that stand out. */
#include "core/commands.h"
#include "core/inspect.h"
#include "core/quantize.h"

static const char help[] =
    "qcore inspect looks at the weights of a model, and at what goes into its linears.\n"
    "\n"
    "  qcore inspect MODEL [--calibration TEXT | --imatrix FILE] [options]\n"
    "\n"
    "Of every tensor: shape, encoding, minimum, maximum, root of the mean square, kurtosis, share of\n"
    "weights beyond six standard deviations. With a text or an imatrix also the input channels that\n"
    "stand out.\n"
    "\n"
    "      --calibration TEXT   a text to run through the model; may be repeated\n"
    "      --imatrix FILE       what an earlier run saved, or an imatrix of llama-imatrix\n"
    "      --tokens N           use no more than N tokens of the text\n"
    "      --context N          tokens of a window (512)\n" OPTIONS_HELP "\n"
    "Examples\n"
    "  qcore inspect models/tiny\n"
    "  qcore inspect tiny-Q4_K_M.gguf --imatrix tiny.imatrix.gguf\n"
    "  qcore inspect models/tiny --calibration wiki.txt --tokens 4096 --json\n";

static const option_spec options[] = {
    {"calibration", OPTION_LIST, "calibration.text"},
    {"imatrix", OPTION_TEXT, "calibration.imatrix"},
    {"tokens", OPTION_YAML, "calibration.tokens"},
    {"context", OPTION_YAML, "calibration.context"},
    {NULL, OPTION_OWN, NULL},
};

static const command_spec command = {.name = "inspect", .help = help, .argument_key = "model.path", .options = options};

typedef struct inspect_state {
    model *model;
    statistics *statistics;
    inspection *inspection;
} inspect_state;

static qc_status look_at_weights(session *s, qc_job *job, inspection *in)
{
    qc_status status = session_start_workers(s, job, inspection_threads(in));
    if (status != QC_OK)
        return status;
    session_show(s, inspection_bytes(in));
    status = inspection_weights(in, pool_job(s->workers), s->progress);
    progress_clear(s->progress);
    return session_worker_status(s, job, status);
}

static qc_status inspect(session *s, qc_job *job, inspect_state *i)
{
    const recipe *rec = s->recipe;
    qc_status status = open_model(s, job, rec, NULL, &i->model);
    if (status == QC_OK)
        status = calibrate(s, job, rec, i->model, QC_STAT_MEAN_SQUARE | QC_STAT_ABSMAX, &i->statistics);
    if (status == QC_OK)
        status = inspection_new(job, s->registry, i->model, rec->run.memory, &i->inspection);
    if (status == QC_OK)
        status = look_at_weights(s, job, i->inspection);
    if (status == QC_OK && i->statistics)
        status = inspection_inputs(i->inspection, job, i->statistics);
    return status;
}

static qc_status run(session *s, qc_job *job, void *arg)
{
    inspect_state *i = arg;
    qc_status status = inspect(s, job, i);
    if (status == QC_OK && s->options->json)
        inspection_json(i->inspection, stdout);
    else if (status == QC_OK)
        inspection_print(i->inspection, stdout);
    inspection_free(i->inspection);
    statistics_free(i->statistics);
    model_free(i->model);
    return status;
}

int cmd_inspect(int argc, char **argv)
{
    run_options o;
    inspect_state state = {0};
    int code = options_parse(&command, argc, argv, &o);
    if (code == OPTIONS_GO_ON && !o.recipe && !o.n_arguments)
        code = options_usage(&command, "no model given: qcore inspect MODEL", "");
    if (code == OPTIONS_GO_ON)
        code = session_run(&o, 0, run, &state);
    options_free(&o);
    return code;
}
