/* Calibration: a text through the model, what its linears see recorded. */
#include "core/calibrate.h"
#include "core/forward.h"
#include "core/job.h"
#include "core/log.h"
#include "core/names.h"
#include "core/paths.h"
#include "core/record.h"
#include "core/tokens.h"
#include "core/units.h"
#include <stdlib.h>

typedef struct calibration {
    const recipe *recipe;
    const model *model;
    uint32_t wanted;
    sequences windows;
    uint64_t record_bytes; /* of all records, and of what the largest block needs beside them while it runs */
    forward *forward;
} calibration;

/* ---- how much it will be ---- */

/* Roles that read one input. Where an architecture does otherwise, recording itself still keeps to the limit. */
static const struct sharing {
    const char *role, *input;
} sharing[] = {{"attn_q", "attention"}, {"attn_k", "attention"}, {"attn_v", "attention"},
               {"ffn_gate", "ffn"},     {"ffn_up", "ffn"},       {"ffn_gate_inp", "router"}};

static const char *input_word(const model_tensor *t)
{
    for (size_t i = 0; t->role && i < sizeof sharing / sizeof *sharing; i++)
        if (!strcmp(t->role, sharing[i].role))
            return sharing[i].input;
    return t->name;
}

int calibration_is_linear(const model_tensor *t)
{
    return t->layer >= 0 && t->n_dims >= 2 && t->dims[1] > 1;
}

int calibration_is_shared(const model *m, const model_tensor *t)
{
    for (const model_tensor *other = t; other-- > m->tensors && other->layer == t->layer;)
        if (calibration_is_linear(other) && other->dims[0] == t->dims[0] && other->dims[2] == t->dims[2] &&
            !strcmp(input_word(other), input_word(t)))
            return 1;
    return 0;
}

static uint64_t plus(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static uint64_t records_forecast(const calibration *c)
{
    const model *m = c->model;
    uint64_t bytes = 0, block = 0, largest = 0;
    for (size_t i = 0; i < m->n_tensors; i++) {
        const model_tensor *t = &m->tensors[i];
        if (i > 0 && t->layer != t[-1].layer)
            block = 0;
        if (!calibration_is_linear(t) || calibration_is_shared(m, t))
            continue;
        uint64_t n = t->dims[2] * t->dims[3];
        bytes = plus(bytes, record_bytes(c->wanted, t->dims[0], n));
        block = plus(block, recording_bytes(c->wanted, t->dims[0], n));
        largest = block > largest ? block : largest;
    }
    uint64_t width = model_count(m, "embedding_length", 0, 0);
    if (c->recipe->calibration.output_weight)
        bytes = plus(bytes, plus(record_bytes(c->wanted, width, 1), recording_bytes(c->wanted, width, 1)));
    return plus(bytes, largest);
}

static const char *advice(const calibration *c)
{
    return c->wanted & QC_STAT_GRAM ? "Gram matrices take most of it: do without them, or allow more memory"
                                    : "allow more memory";
}

uint64_t calibration_windows_bytes(const sequences *windows)
{
    return windows->starts[windows->n] * (sizeof *windows->tokens + sizeof(size_t));
}

static qc_status check_memory(const calibration *c, qc_job *job)
{
    char all[BYTES_TEXT], records[BYTES_TEXT], running[BYTES_TEXT], allowed[BYTES_TEXT];
    uint64_t limit = c->recipe->run.memory,
             run = plus(forward_least_memory(c->forward), calibration_windows_bytes(&c->windows));
    if (plus(run, c->record_bytes) <= limit)
        return QC_OK;
    return qc_fail(job, QC_E_LIMIT,
                   "calibrating on %s needs %s of memory: %s to run it and %s for statistics; run.memory allows %s. %s",
                   c->model->path, bytes_text(plus(run, c->record_bytes), all), bytes_text(run, running),
                   bytes_text(c->record_bytes, records), bytes_text(limit, allowed), advice(c));
}

/* ---- opening ---- */

qc_status calibration_windows(qc_job *job, registry *r, const recipe *rec, const model *m, sequences *out)
{
    const text_list *texts = &rec->calibration.text;
    tokenizer *t = NULL;
    token_list tokens = {0};
    *out = (sequences){0};
    qc_status status = tokenizer_open(job, r, m, &t);
    if (status == QC_OK)
        status = tokenizer_read(t, job, (const char *const *)texts->items, texts->n, (size_t)rec->calibration.tokens,
                                &tokens);
    if (status == QC_OK) {
        status = sequences_cut(t, job, &tokens, (size_t)rec->calibration.context, 0, out);
        if (status != QC_OK)
            texts_add_context(job, (const char *const *)texts->items, texts->n);
    }
    token_list_free(&tokens);
    tokenizer_free(t);
    return status;
}

/* The model gets what statistics leave of run.memory. */
static qc_status open_forward(calibration *c, qc_job *job, registry *r)
{
    uint64_t limit = c->recipe->run.memory;
    qc_status status = forward_open(job, r, c->model, limit, NULL, &c->forward);
    if (status == QC_OK)
        status = check_memory(c, job);
    if (status != QC_OK)
        return status;
    forward_free(c->forward);
    c->forward = NULL;
    return forward_open(job, r, c->model, limit - c->record_bytes - calibration_windows_bytes(&c->windows), NULL,
                        &c->forward);
}

static qc_status calibration_open(calibration *c, qc_job *job, registry *r)
{
    qc_status status = calibration_windows(job, r, c->recipe, c->model, &c->windows);
    if (status != QC_OK)
        return status;
    c->record_bytes = records_forecast(c);
    return open_forward(c, job, r);
}

static void calibration_close(calibration *c)
{
    forward_free(c->forward);
    sequences_free(&c->windows);
}

qc_status statistics_forecast(qc_job *job, registry *r, const recipe *rec, const model *m, uint32_t wanted,
                              uint64_t *bytes, uint64_t *steps)
{
    calibration c = {.recipe = rec, .model = m, .wanted = wanted};
    qc_status status = calibration_open(&c, job, r);
    *bytes = *steps = 0;
    if (status == QC_OK) {
        *bytes = forward_memory(c.forward) + c.record_bytes + calibration_windows_bytes(&c.windows);
        *steps = (uint64_t)c.windows.starts[c.windows.n] * forward_blocks(c.forward);
    }
    calibration_close(&c);
    return status;
}

/* ---- recording ---- */

qc_status calibration_datasets(qc_job *job, const recipe *rec, statistics *s, uint64_t n_windows)
{
    const text_list *texts = &rec->calibration.text;
    qc_status status = QC_OK;
    for (size_t i = 0; i < texts->n && status == QC_OK; i++) {
        const char *name = path_name(texts->items[i]); /* where it lies is nobody's business */
        status = statistics_add_dataset(s, job, name, strlen(name));
    }
    s->chunks = n_windows;
    s->chunk_tokens = rec->calibration.context;
    return status;
}

static qc_status record_all(const calibration *c, qc_job *job, statistics *s, progress *shown)
{
    recorder *r = NULL;
    hidden_states *hidden = NULL;
    qc_status status = recorder_new(job, s, c->wanted, &r);
    if (status != QC_OK)
        return status;
    const forward_watch watch = recorder_watch(r, c->recipe->calibration.output_weight);
    status = forward_run(c->forward, job, &c->windows, &watch, shown, &hidden);
    hidden_free(hidden);
    if (status == QC_OK)
        status = recorder_finish(r, job);
    recorder_free(r);
    return status == QC_OK ? calibration_datasets(job, c->recipe, s, c->windows.n) : status;
}

qc_status statistics_record(qc_job *job, registry *r, const recipe *rec, const model *m, uint32_t wanted,
                            progress *shown, statistics **out)
{
    calibration c = {.recipe = rec, .model = m, .wanted = wanted};
    *out = NULL;
    statistics *s = statistics_new(rec->run.memory);
    if (!s)
        return qc_fail(job, QC_E_NOMEM, "out of memory for statistics");
    qc_status status = calibration_open(&c, job, r);
    if (status == QC_OK)
        status = record_all(&c, job, s, shown);
    calibration_close(&c);
    if (status == QC_OK)
        *out = s;
    else
        statistics_free(s);
    return status;
}

/* ---- how much text ---- */

void calibration_warn_of_few_tokens(const qc_host *host, registry *r, const plan *planned, double tokens)
{
    const recipe *rec = planned->recipe;
    const plugin_use *use = rec->quantize.n_methods ? &rec->quantize.methods[rec->quantize.n_methods - 1] : NULL;
    const plugin_entry *e = use ? registry_entry(r, "method", use->id) : NULL;
    const char *text = e ? entry_value(e, "tokens") : NULL;
    double each = text ? strtod(text, NULL) : 0;
    const plan_item *widest = NULL;
    for (size_t i = 0; i < planned->n_items; i++) {
        const plan_item *item = &planned->items[i];
        int counts = calibration_is_linear(item->tensor) && !item->carried && item->to.desc && item->to.block_cols != 1;
        if (counts && (!widest || item->tensor->dims[0] > widest->tensor->dims[0]))
            widest = item;
    }
    if (!widest || !use || tokens >= each * (double)widest->tensor->dims[0])
        return;
    log_say(host, QC_LOG_WARNING,
            "%.0f tokens of calibration are few for %s, which has %llu columns: %s wants %.0f a column, %.0f tokens",
            tokens, widest->tensor->name, (unsigned long long)widest->tensor->dims[0], use->id, each,
            each * (double)widest->tensor->dims[0]);
}
