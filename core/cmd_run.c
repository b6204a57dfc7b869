/* qcore -c RECIPE: from the recipe to the report. */
#include "core/calibrate.h"
#include "core/commands.h"
#include "core/host.h"
#include "core/judge.h"
#include "core/quantize.h"
#include "core/report.h"
#include "core/rules.h"

static const char help[] = "qcore turns a model into one with fewer bits, as a recipe says.\n"
                           "\n"
                           "  qcore -c RECIPE [options]    run a recipe\n"
                           "  qcore calibrate MODEL ...    run a text and save what the model's layers see\n"
                           "  qcore eval MODEL ...         perplexity, divergence from another model, tasks\n"
                           "  qcore compare -c RECIPE ...  several presets of one model in a table\n"
                           "  qcore inspect MODEL          range and outliers of every tensor\n"
                           "  qcore tokenize MODEL ...     a text as token ids\n"
                           "  qcore plugins                what methods, encodings, formats, ... there are\n"
                           "  qcore COMMAND --help         more of each\n"
                           "\n"
                           "  -c, --config RECIPE      the recipe, a YAML file\n"
                           "  -s, --set KEY=VALUE      override a key of it; enough of these need no recipe\n"
                           "  -n, --dry-run            print the plan and write nothing\n"
                           "  -j, --json               print the plan or the summary as JSON\n"
                           "  -q, --quiet              no progress, no summary\n"
                           "  -t, --threads N          at most N threads; the output does not depend on it\n"
                           "      --memory SIZE        about as much memory as may be used (1GiB)\n"
                           "      --plugin-path DIR    look for plugins in DIR first; may be repeated\n"
                           "      --cpu-mask LEVEL     use no more than this CPU level (x86-v3, generic)\n"
                           "      --backend NAME       kernels of this backend, not the best that fits\n"
                           "      --ops ENTRY=BACKEND  a kernel of another backend (matrix.gemm=scalar)\n"
                           "      --version\n"
                           "  -h, --help\n"
                           "\n"
                           "Examples\n"
                           "  qcore -c recipe.yaml\n"
                           "  qcore -c recipe.yaml --dry-run --set quantize.preset=Q3_K_S\n"
                           "  qcore -s model.path=tiny -s quantize.preset=Q4_K_M -s output.path=tiny.gguf\n"
                           "  qcore eval tiny.gguf --reference tiny --text wiki.txt\n"
                           "  qcore plugins show q4_k\n"
                           "\n"
                           "Exit codes\n"
                           "    0  done\n"
                           "    1  a bug in qcore\n"
                           "    2  a mistake in the command line or the recipe\n"
                           "    3  not supported\n"
                           "    4  an input file is corrupt\n"
                           "    5  the system refused to read or write\n"
                           "    6  NaN or Inf in the weights or activations\n"
                           "    7  memory or another limit\n"
                           "  130  interrupted\n";

static const command_spec command = {.name = "", .help = help, .is_run = 1};

/* What was read and made; freed before the session. */
typedef struct run_state {
    model *model, *written;
    statistics *statistics;
    evaluator *evaluator;
    quantization quantization;
    judgement judgement;
} run_state;

static void run_free(run_state *r)
{
    judgement_free(&r->judgement);
    evaluator_free(r->evaluator);
    quantization_free(&r->quantization);
    statistics_free(r->statistics);
    model_free(r->written);
    model_free(r->model);
}

/* Recording may take hours: whether there can be a plan, and the output be made where it is wanted, is better known now.
 * Warnings come when it counts. */
static qc_status foresee(session *s, qc_job *job, const model *m)
{
    quantization tried = {.session = s, .recipe = s->recipe, .model = m};
    host_set_log_level(s->host, QC_LOG_ERROR);
    qc_status status = quantization_plan(&tried, job);
    if (status == QC_OK)
        status = output_open(job, s->registry, tried.plan, &tried.output);
    quantization_free(&tried);
    host_set_log_level(s->host, QC_LOG_WARNING);
    return status;
}

static qc_status make_plan(session *s, qc_job *job, run_state *r)
{
    const recipe *rec = s->recipe;
    uint32_t wanted = 0;
    uint64_t bytes = 0, steps = 0;
    int by_blocks = 0;
    qc_status status = rules_check_roles(job, rec->quantize.rules, s->roles);
    if (status == QC_OK)
        status = open_model(s, job, rec, NULL, &r->model);
    if (status == QC_OK)
        status = judge_foresee(s, job, rec, r->model);
    if (status == QC_OK)
        status = blocks_wanted(job, s->registry, rec, &by_blocks);
    if (status == QC_OK && rec->calibration.text.n)
        status = statistics_wanted(job, s->registry, rec, &wanted);
    if (status == QC_OK && !s->options->dry_run && rec->calibration.text.n && !by_blocks)
        status = foresee(s, job, r->model);
    if (status == QC_OK && s->options->dry_run && rec->calibration.text.n)
        status = by_blocks ? blocks_forecast(job, s->registry, rec, r->model, wanted, &bytes, &steps)
                           : statistics_forecast(job, s->registry, rec, r->model, wanted, &bytes, &steps);
    else if (status == QC_OK)
        status = calibrate(s, job, rec, r->model, wanted, &r->statistics);
    r->quantization = (quantization){.session = s, .recipe = rec, .model = r->model, .statistics = r->statistics};
    if (status == QC_OK)
        status = quantization_plan(&r->quantization, job);
    if (status != QC_OK)
        return status;
    uint64_t blocks = model_count(r->model, "block_count", 0, 1);
    r->quantization.plan->calibration_bytes = bytes;
    r->quantization.plan->calibration_tokens = blocks ? steps / blocks : 0;
    if (r->quantization.plan->calibration_tokens)
        calibration_warn_of_few_tokens(job->host, s->registry, r->quantization.plan,
                                       (double)r->quantization.plan->calibration_tokens);
    return QC_OK;
}

/* Were outputs measured while linears were rounded? */
static int outputs_are_known(const run_state *r)
{
    size_t n;
    const linear_result *linears = pipeline_linears(r->quantization.pipeline, &n);
    for (size_t i = 0; i < n; i++)
        if (linears[i].energy > 0)
            return 1;
    return 0;
}

/* Layers are held against the model's where that is asked for, or where it would be shown and is not known yet. With
 * factors, linears answer for other channels. */
static int judges_layers(const session *s, const run_state *r)
{
    const recipe *rec = s->recipe;
    int shown = s->options->json || !s->options->quiet;
    if (pipeline_transforms(r->quantization.pipeline))
        return 0;
    if (rec->evaluate.layers >= 0)
        return rec->evaluate.layers > 0;
    return rec->calibration.text.n && shown && !outputs_are_known(r);
}

/* The written file is opened and run like any other: what counts is what a client will read. */
static qc_status judge(session *s, qc_job *job, run_state *r)
{
    const recipe *rec = s->recipe;
    int layers = judges_layers(s, r);
    if (!layers && !rec->evaluate.at.file)
        return QC_OK;
    qc_status status = open_model(s, job, rec, rec->output.path, &r->written);
    if (status == QC_OK && layers)
        status = judge_layers(s, job, rec, r->model, r->written, &r->judgement);
    if (status != QC_OK || !rec->evaluate.at.file)
        return status;
    status = evaluator_open(job, s->registry, rec, r->written, r->model, &r->evaluator);
    return status == QC_OK ? judge_metrics(s, job, r->evaluator, r->written, &r->judgement) : status;
}

static void report_run(const session *s, const run_state *r)
{
    size_t n_linears;
    const linear_result *linears = pipeline_linears(r->quantization.pipeline, &n_linears);
    const report shown = {.plan = r->quantization.plan,
                          .results = pipeline_results(r->quantization.pipeline),
                          .linears = linears,
                          .n_linears = n_linears,
                          .output_bytes = output_bytes(r->quantization.output),
                          .judgement = &r->judgement,
                          .seconds = r->quantization.seconds,
                          .threads = r->quantization.threads};
    if (s->options->json)
        report_json(&shown, stdout);
    else if (!s->options->quiet)
        report_print(&shown, stdout);
}

static qc_status run(session *s, qc_job *job, void *arg)
{
    run_state *r = arg;
    qc_status status = make_plan(s, job, r);
    if (status == QC_OK && s->options->dry_run) {
        plan_print(r->quantization.plan, s->options->json);
        run_free(r);
        return QC_OK;
    }
    if (status == QC_OK)
        status = quantization_work(&r->quantization, job);
    int written = status == QC_OK;
    if (written)
        status = judge(s, job, r);
    if (written)
        report_run(s, r); /* the output is there, even where it could not be judged */
    run_free(r);
    return status;
}

int cmd_run(int argc, char **argv)
{
    run_options o;
    run_state state = {0};
    int code = options_parse(&command, argc, argv, &o);
    if (code == OPTIONS_GO_ON && !o.recipe && !o.n_sets)
        code = options_usage(&command, "no recipe given: qcore -c RECIPE", "");
    if (code == OPTIONS_GO_ON)
        code = session_run(&o, RECIPE_OUTPUT, run, &state);
    options_free(&o);
    return code;
}
