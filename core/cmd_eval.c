/* qcore eval MODEL: what a model is worth, by itself and against another. */
#include "core/commands.h"
#include "core/judge.h"
#include "core/quantize.h"

static const char help[] = "qcore eval runs a model and says what it is worth.\n"
                           "\n"
                           "  qcore eval MODEL --text FILE [--reference MODEL] [options]\n"
                           "\n"
                           "MODEL is a Hugging Face folder, or a GGUF file of any encoding that qcore reads.\n"
                           "\n"
                           "      --text FILE          text to be predicted; may be repeated\n"
                           "      --reference MODEL    the model it should equal (or a file that\n"
                           "                           llama-perplexity --save-all-logits made of it)\n"
                           "      --metrics A,B,...    perplexity, kld, tokens, {tasks: {file: F}}, retrieval\n"
                           "                           (perplexity, and kld where there is a reference);\n"
                           "                           more: qcore plugins list --kind metric\n"
                           "      --tokens N           use no more than N tokens of the text\n"
                           "      --context N          tokens of a window (512)\n"
                           "      --stride N           windows overlap: each begins N tokens after the last\n"
                           "      --matmul WORD        exact (float32), or quantized: inputs in 8 bits by\n"
                           "                           weights as stored, several times faster on\n"
                           "                           quantized models; the reference stays exact\n"
                           "      --layers             what the outputs of each linear lost, too\n" OPTIONS_HELP "\n"
                           "Perplexity is counted as llama-perplexity does: windows side by side, and the\n"
                           "second half of each is scored.\n"
                           "\n"
                           "Examples\n"
                           "  qcore eval tiny-Q4_K_M.gguf --text wiki.txt\n"
                           "  qcore eval tiny-Q4_K_M.gguf --reference models/tiny --text wiki.txt --json\n"
                           "  qcore eval tiny.gguf --metrics '{tasks: {file: questions.jsonl}}'\n";

static const option_spec options[] = {
    {"text", OPTION_LIST, "evaluate.text"},
    {"reference", OPTION_TEXT, "evaluate.reference"},
    {"metrics", OPTION_WORDS, "evaluate.metrics"},
    {"tokens", OPTION_YAML, "evaluate.tokens"},
    {"context", OPTION_YAML, "evaluate.context"},
    {"stride", OPTION_YAML, "evaluate.stride"},
    {"layers", OPTION_TRUE, "evaluate.layers"},
    {"matmul", OPTION_TEXT, "run.matmul"},
    {NULL, OPTION_OWN, NULL},
};

static const command_spec command = {.name = "eval", .help = help, .argument_key = "model.path", .options = options};

typedef struct eval_state {
    model *model, *reference;
    evaluator *evaluator;
    judgement judgement;
} eval_state;

static void eval_free(eval_state *e)
{
    judgement_free(&e->judgement);
    evaluator_free(e->evaluator);
    model_free(e->reference);
    model_free(e->model);
}

static void report_eval(const session *s, const eval_state *e)
{
    json_out j = {.file = stdout};
    if (!s->options->json) {
        const char *reference = s->recipe->evaluate.reference;
        printf("%s%s%s\n", s->recipe->model.path, reference ? " against " : "", reference ? reference : "");
        judgement_print(&e->judgement, stdout);
        return;
    }
    put_json_object(&j, NULL);
    put_json_text(&j, "model", s->recipe->model.path);
    put_json_text(&j, "reference", s->recipe->evaluate.reference);
    judgement_json(&e->judgement, &j);
    put_json_end_object(&j);
}

static qc_status open_all(session *s, qc_job *job, eval_state *e)
{
    const recipe *rec = s->recipe;
    qc_status status = open_model(s, job, rec, NULL, &e->model);
    int is_model = status == QC_OK && rec->evaluate.reference &&
                   !evaluator_is_base_file(job, s->registry, rec->evaluate.reference);
    if (is_model)
        status = open_model(s, job, rec, rec->evaluate.reference, &e->reference);
    return status == QC_OK ? evaluator_open(job, s->registry, rec, e->model, e->reference, &e->evaluator) : status;
}

static qc_status run(session *s, qc_job *job, void *arg)
{
    eval_state *e = arg;
    qc_status status = open_all(s, job, e);
    if (status == QC_OK && s->recipe->evaluate.layers > 0 && !e->reference)
        status = qc_fail(
            job, QC_E_INVALID,
            "--layers compares with another model: name one with --reference (a base file has no weights)");
    if (status == QC_OK && s->recipe->evaluate.layers > 0)
        status = judge_layers(s, job, s->recipe, e->reference, e->model, &e->judgement);
    if (status == QC_OK)
        status = judge_metrics(s, job, e->evaluator, e->model, &e->judgement);
    if (status == QC_OK)
        report_eval(s, e);
    eval_free(e);
    return status;
}

int cmd_eval(int argc, char **argv)
{
    run_options o;
    eval_state state = {0};
    int code = options_parse(&command, argc, argv, &o);
    if (code == OPTIONS_GO_ON && !o.recipe && !o.n_arguments)
        code = options_usage(&command, "no model given: qcore eval MODEL --text FILE", "");
    if (code == OPTIONS_GO_ON)
        code = session_run(&o, RECIPE_EVALUATE, run, &state);
    options_free(&o);
    return code;
}
