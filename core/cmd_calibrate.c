/* qcore calibrate MODEL: what the layers of a model see, saved for later runs and for other programs. */
#include "core/commands.h"
#include "core/jsonout.h"
#include "core/quantize.h"
#include <string.h>

static const char help[] = "qcore calibrate runs a text through a model and saves what its layers see.\n"
                           "\n"
                           "  qcore calibrate MODEL --text FILE (--imatrix FILE | --output FILE) [options]\n"
                           "\n"
                           "      --text FILE          text to run; may be repeated\n"
                           "      --imatrix FILE       save the mean squares of the inputs' columns in the form\n"
                           "                           that llama-quantize takes: NAME.gguf, or NAME.dat for\n"
                           "                           its older layout\n"
                           "      --output FILE        save all that was recorded, as NAME.gguf: a recipe takes\n"
                           "                           it as calibration.imatrix\n"
                           "      --record A,B,...     mean_square (always), gram, absmax, samples\n"
                           "      --output-weight      also the input of output.weight\n"
                           "      --tokens N           use no more than N tokens of the text\n"
                           "      --context N          tokens of a window (512)\n" OPTIONS_HELP "\n"
                           "Examples\n"
                           "  qcore calibrate models/tiny --text calibration.txt --imatrix tiny.imatrix.gguf\n"
                           "  qcore calibrate tiny-F16.gguf --text a.txt --text b.txt --record gram \\\n"
                           "      --output tiny.statistics.gguf\n";

enum { OPTION_IMATRIX }; /* places in the table of options */

static const option_spec options[] = {
    [OPTION_IMATRIX] = {"imatrix", OPTION_OWN, NULL},
    {"text", OPTION_LIST, "calibration.text"},
    {"output", OPTION_TEXT, "calibration.output"},
    {"record", OPTION_WORDS, "calibration.record"},
    {"output-weight", OPTION_TRUE, "calibration.output_weight"},
    {"tokens", OPTION_YAML, "calibration.tokens"},
    {"context", OPTION_YAML, "calibration.context"},
    {NULL, OPTION_OWN, NULL},
};

static const command_spec command = {
    .name = "calibrate", .help = help, .argument_key = "model.path", .options = options};

typedef struct calibrate_state {
    model *model;
    statistics *statistics;
} calibrate_state;

static qc_status check_names(session *s, qc_job *job, const char *imatrix)
{
    const char *all = s->recipe->calibration.output;
    if (!imatrix && !all)
        return qc_fail(job, QC_E_INVALID, "nowhere to save it: name --imatrix FILE or --output FILE");
    if (imatrix && all && strcmp(imatrix, all) == 0)
        return qc_fail(job, QC_E_INVALID, "%s: --imatrix and --output save two different files", all);
    return imatrix ? statistics_check_path(job, s->registry, s->recipe, imatrix, QC_STAT_MEAN_SQUARE) : QC_OK;
}

static void report_calibration(const session *s, const calibrate_state *c)
{
    const char *files[] = {s->options->own[OPTION_IMATRIX], s->recipe->calibration.output};
    json_out j = {.file = stdout};
    if (!s->options->json) {
        statistics_print(c->statistics, stdout);
        for (size_t i = 0; i < 2; i++)
            if (files[i])
                printf("Saved %s\n", files[i]);
        return;
    }
    put_json_object(&j, NULL);
    put_json_text(&j, "model", s->recipe->model.path);
    put_json_text(&j, "imatrix", files[0]);
    put_json_text(&j, "output", files[1]);
    statistics_json(c->statistics, &j);
    put_json_end_object(&j);
}

static qc_status record_and_save(session *s, qc_job *job, calibrate_state *c)
{
    const recipe *rec = s->recipe;
    const char *imatrix = s->options->own[OPTION_IMATRIX];
    uint32_t wanted = 0;
    qc_status status = check_names(s, job, imatrix);
    if (status == QC_OK)
        status = open_model(s, job, rec, NULL, &c->model);
    if (status == QC_OK)
        status = statistics_wanted(job, s->registry, rec, &wanted);
    if (status == QC_OK)
        status = calibrate(s, job, rec, c->model, wanted | QC_STAT_MEAN_SQUARE, &c->statistics);
    if (status == QC_OK && imatrix)
        status = statistics_write(c->statistics, job, s->registry, rec, imatrix, QC_STAT_MEAN_SQUARE);
    if (status == QC_OK && (s->options->json || !s->options->quiet))
        report_calibration(s, c);
    return status;
}

static qc_status run(session *s, qc_job *job, void *arg)
{
    calibrate_state *c = arg;
    qc_status status = record_and_save(s, job, c);
    statistics_free(c->statistics);
    model_free(c->model);
    return status;
}

int cmd_calibrate(int argc, char **argv)
{
    run_options o;
    calibrate_state state = {0};
    int code = options_parse(&command, argc, argv, &o);
    if (code == OPTIONS_GO_ON && !o.recipe && !o.n_arguments)
        code = options_usage(&command, "no model given: qcore calibrate MODEL --text FILE --imatrix FILE", "");
    if (code == OPTIONS_GO_ON)
        code = session_run(&o, RECIPE_CALIBRATION, run, &state);
    options_free(&o);
    return code;
}
