/* A file of questions is any bytes. What is accepted must be answerable: sequences with something to score, rounds that
 * end, shares between 0 and 1. */
#include "fuzz.h"
#include "metric_run.h"
#include <stdlib.h>

static void expect(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "does not hold: %s\n", what);
        abort();
    }
}

/* Says the byte behind the last one, mostly: right answers happen, in rounds. */
static void count_up(const metric_run *run, const uint32_t *tokens, size_t n, float *logits)
{
    memset(logits, 0, run->view.n_vocab * sizeof *logits);
    logits[(tokens[n - 1] + n % 3) % run->view.n_vocab] = 3.0f;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const test_setting settings[] = {{"file", 0, "questions.jsonl"}, {"limit", 20, NULL}, {NULL, 0, NULL}};
    char *text = malloc(size + 1);
    expect(text != NULL, "there is memory");
    if (size)
        memcpy(text, data, size);
    text[size] = '\0';
    metric_run run = {.model = count_up, .pieces = {"bc", " b", "12"}, .file = text, .add_bos = size % 2 == 0};
    qc_status status = metric_run_begin(&run, "answers", "tasks", settings);
    expect((status == QC_OK) == (run.th.status == QC_OK), "a failure has a message, a success none");
    if (status == QC_OK) {
        expect(metric_run_all(&run) == QC_OK, "what was accepted can be asked");
        double share = metric_run_value(&run, "accuracy");
        expect(share >= 0.0 && share <= 1.0 && run.n_sequences > 0, "a share of the questions is right");
    }
    metric_run_end(&run);
    free(text);
    return 0;
}
