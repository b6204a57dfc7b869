#include "shapes.h"

/* A dimension of a tensor; NONE as rows: a vector. */
enum { NONE, EMBEDDING, FEED_FORWARD, VOCABULARY, HEAD, QUERY_HEADS, KEY_HEADS, N_DIMENSIONS };

static const struct shape {
    const char *canonical;
    int cols, rows;
} shapes[] = {
    {"token_embd.weight", EMBEDDING, VOCABULARY},
    {"blk.{}.attn_norm.weight", EMBEDDING, NONE},
    {"blk.{}.attn_q.weight", EMBEDDING, QUERY_HEADS},
    {"blk.{}.attn_q.bias", QUERY_HEADS, NONE},
    {"blk.{}.attn_q_norm.weight", HEAD, NONE},
    {"blk.{}.attn_k.weight", EMBEDDING, KEY_HEADS},
    {"blk.{}.attn_k.bias", KEY_HEADS, NONE},
    {"blk.{}.attn_k_norm.weight", HEAD, NONE},
    {"blk.{}.attn_v.weight", EMBEDDING, KEY_HEADS},
    {"blk.{}.attn_v.bias", KEY_HEADS, NONE},
    {"blk.{}.attn_output.weight", QUERY_HEADS, EMBEDDING},
    {"blk.{}.attn_output.bias", EMBEDDING, NONE},
    {"blk.{}.ffn_norm.weight", EMBEDDING, NONE},
    {"blk.{}.ffn_gate.weight", EMBEDDING, FEED_FORWARD},
    {"blk.{}.ffn_gate.bias", FEED_FORWARD, NONE},
    {"blk.{}.ffn_up.weight", EMBEDDING, FEED_FORWARD},
    {"blk.{}.ffn_up.bias", FEED_FORWARD, NONE},
    {"blk.{}.ffn_down.weight", FEED_FORWARD, EMBEDDING},
    {"blk.{}.ffn_down.bias", EMBEDDING, NONE},
    {"output_norm.weight", EMBEDDING, NONE},
    {"output.weight", EMBEDDING, VOCABULARY},
};

void put_shapes(conversion *c, const sizes *s)
{
    const uint64_t size[N_DIMENSIONS] = {
        [EMBEDDING] = s->embedding,
        [FEED_FORWARD] = s->feed_forward,
        [VOCABULARY] = s->vocabulary,
        [HEAD] = s->head_size,
        [QUERY_HEADS] = (uint64_t)s->heads * s->head_size,
        [KEY_HEADS] = (uint64_t)s->key_heads * s->head_size,
    };
    if (!QC_HAS(c->out, qc_import, shape) || !c->out->shape)
        return;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes && c->status == QC_OK; i++)
        c->status = c->out->shape(c->out, c->job, shapes[i].canonical, size[shapes[i].cols], size[shapes[i].rows]);
}
