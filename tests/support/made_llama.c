#include "made_llama.h"
#include "gguf_bytes.h"
#include "qcore/number.h"
#include <math.h>
#include <stdio.h>

enum { HEADS = 4, KEYS = 16 /* rows of k and v */ };

typedef struct part {
    const char *name; /* "{}": of each block */
    uint32_t rows, cols; /* rows 0: a vector */
} part;

static const part ends[] = {{"token_embd.weight", MADE_WORDS, MADE_WIDTH},
                            {"output_norm.weight", 0, MADE_WIDTH},
                            {"output.weight", MADE_WORDS, MADE_WIDTH}};
static const part of_block[] = {
    {"attn_norm.weight", 0, MADE_WIDTH},
    {"attn_q.weight", MADE_WIDTH, MADE_WIDTH},
    {"attn_k.weight", KEYS, MADE_WIDTH},
    {"attn_v.weight", KEYS, MADE_WIDTH},
    {"attn_output.weight", MADE_WIDTH, MADE_WIDTH},
    {"ffn_norm.weight", 0, MADE_WIDTH},
    {"ffn_gate.weight", MADE_INNER, MADE_WIDTH},
    {"ffn_up.weight", MADE_INNER, MADE_WIDTH},
    {"ffn_down.weight", MADE_WIDTH, MADE_INNER},
};

enum { MOST_PARTS = 32 };

typedef struct listed {
    char name[64];
    uint32_t rows, cols, experts;
} listed;

static size_t list_parts(listed *all, const made_flaw *f)
{
    size_t n = 0;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        all[n] = (listed){"", ends[i].rows, ends[i].cols, 1};
        snprintf(all[n++].name, 64, "%s", ends[i].name);
    }
    for (size_t i = 0; i < MADE_BLOCKS * (sizeof of_block / sizeof *of_block); i++) {
        const part *p = &of_block[i % (sizeof of_block / sizeof *of_block)];
        all[n] = (listed){"", p->rows, p->cols, 1};
        snprintf(all[n++].name, 64, "blk.%zu.%s", i / (sizeof of_block / sizeof *of_block), p->name);
    }
    all[n++] = (listed){MADE_STACK, MADE_INNER, MADE_WIDTH, MADE_EXPERTS};
    for (size_t i = 0; f->missing && i < n; i++)
        if (!strcmp(all[i].name, f->missing))
            all[i] = all[--n];
    return n;
}

static int is(const char *wanted, const listed *t)
{
    return wanted && !strcmp(wanted, t->name);
}

static uint64_t part_bytes(const listed *t, const made_flaw *f)
{
    uint64_t n = (uint64_t)t->cols * (t->rows ? t->rows : 1) * t->experts;
    return is(f->strange, t) ? n / 32 * 36 : 4 * n;
}

static void put_values(byte_buffer *b, const listed *t, const made_flaw *f)
{
    static unsigned char bytes[4 * MADE_EXPERTS * MADE_INNER * MADE_WIDTH]; /* of the largest */
    uint32_t state = 1, rows = (t->rows ? t->rows : 1) * t->experts;
    for (const char *c = t->name; *c; c++)
        state = state * 31u + (unsigned char)*c;
    for (uint32_t i = 0; i < rows * t->cols; i++) {
        state = state * 1664525u + 1013904223u;
        float v = (float)(int32_t)(state >> 8) * 0x1p-23f - 1.0f;
        v = t->rows ? 0.3f * v : 1.0f + 0.1f * v;
        v = is(f->huge, t) ? 3e38f : v;
        v = is(f->nan, t) && i == 3 * t->cols + 5 ? NAN : v;
        qc_store_le32(bytes + 4 * i, qc_float_bits(v));
    }
    put_bytes(b, bytes, 4 * (size_t)rows * t->cols);
}

static void put_listed(byte_buffer *b, const listed *t, uint32_t type, uint64_t at)
{
    put_text(b, t->name);
    put_u32(b, t->experts > 1 ? 3 : t->rows ? 2 : 1);
    put_u64(b, t->cols);
    if (t->rows)
        put_u64(b, t->rows);
    if (t->experts > 1)
        put_u64(b, t->experts);
    put_u32(b, type);
    put_u64(b, at);
}

void made_llama_put(byte_buffer *b, const made_flaw *f)
{
    static const struct {
        const char *key;
        uint32_t value;
    } counts[] = {{"block_count", MADE_BLOCKS},    {"context_length", 512},        {"feed_forward_length", MADE_INNER},
                  {"attention.head_count", HEADS}, {"attention.head_count_kv", 2}, {"vocab_size", MADE_WORDS}};
    listed all[MOST_PARTS];
    size_t n = list_parts(all, f);
    uint64_t at = 0;
    char key[64];
    put_head(b, 3, n, 3 + sizeof counts / sizeof *counts);
    put_text(b, "general.architecture");
    put_u32(b, 8);
    put_text(b, f->family ? f->family : "llama");
    put_key(b, "llama.embedding_length", 4, f->width ? f->width : MADE_WIDTH, 4);
    put_key(b, "llama.attention.layer_norm_rms_epsilon", 6, 0x3727c5ac, 4);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        snprintf(key, sizeof key, "llama.%s", counts[i].key);
        put_key(b, key, 4, counts[i].value, 4);
    }
    for (size_t i = 0; i < n; i++) {
        put_listed(b, &all[i], is(f->strange, &all[i]) ? 9 /* Q8_1: only ever in memory */ : GGUF_F32, at);
        at += part_bytes(&all[i], f);
    }
    put_padding(b, 32);
    for (size_t i = 0; i < n; i++)
        if (is(f->strange, &all[i]))
            put_zeros(b, (size_t)part_bytes(&all[i], f));
        else
            put_values(b, &all[i], f);
}

void made_llama_stack(byte_buffer *b)
{
    put_values(b, &(listed){MADE_STACK, MADE_INNER, MADE_WIDTH, MADE_EXPERTS}, &(made_flaw){0});
}
