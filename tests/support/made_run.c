#include "made_run.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

void made_run_begin(made_run *r, void **state, const made_flaw *f, made_way w)
{
    byte_buffer b = {0};
    memset(r, 0, sizeof *r);
    r->scratch = *state;
    made_llama_put(&b, f);
    scratch_write(r->scratch, "m.gguf", b.data, b.n);
    buffer_end(&b);
    r->pool = pool_new(r->scratch->host, w.threads ? w.threads : 1);
    r->job = pool_job(r->pool);
    if (opened_model_begin(&r->opened, r->job, scratch_path(r->scratch, "m.gguf"), w.cpu) != QC_OK)
        fail_msg("%s", job_message(r->job));
    r->status = forward_open(r->job, r->opened.registry, r->opened.model, w.memory ? w.memory : UINT64_MAX,
                             w.folder ? w.folder : r->scratch->path, &r->forward);
}

void made_run_end(made_run *r)
{
    forward_free(r->forward);
    opened_model_end(&r->opened);
    pool_free(r->pool);
}

const sequences *made_sequences(void)
{
    static uint32_t tokens[MADE_TOKENS];
    static size_t starts[MADE_SEQUENCES + 1];
    static const sequences s = {tokens, starts, MADE_SEQUENCES};
    static const size_t lengths[MADE_SEQUENCES] = {150, 1, 620, 40, 60, 29};
    for (size_t i = 0; i < MADE_TOKENS; i++)
        tokens[i] = (uint32_t)(i * 37 + i / 5) % MADE_WORDS;
    for (size_t i = 0; i < MADE_SEQUENCES; i++)
        starts[i + 1] = starts[i] + lengths[i];
    assert_int_equal(starts[MADE_SEQUENCES], MADE_TOKENS);
    return &s;
}
