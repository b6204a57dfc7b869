/* Hugging Face's tensor names and GGUF's. In order of use: the embedding, a block, the head. */
#include "family.h"

/* clang-format off */
#define BLOCK(name) "model.layers.{}." name
#define WEIGHT(source, canonical, rows) {BLOCK(source ".weight"), "blk.{}." canonical ".weight", 0, rows}
#define NORM(source, canonical) {BLOCK(source ".weight"), "blk.{}." canonical ".weight", QC_NAME_KEEP_F32, 0}
#define BIAS(source, canonical, rows) \
    {BLOCK(source ".bias"), "blk.{}." canonical ".bias", QC_NAME_OPTIONAL | QC_NAME_KEEP_F32, rows}
#define DROP(source) {source, NULL, QC_NAME_OPTIONAL | QC_NAME_DROP, 0}

#define EMBEDDING {"model.embed_tokens.weight", "token_embd.weight", 0, 0}
#define ATTENTION(query_rows, key_rows)                  \
    NORM("input_layernorm", "attn_norm"),                \
    WEIGHT("self_attn.q_proj", "attn_q", query_rows),    \
    WEIGHT("self_attn.k_proj", "attn_k", key_rows),      \
    WEIGHT("self_attn.v_proj", "attn_v", QC_ROWS_PLAIN), \
    WEIGHT("self_attn.o_proj", "attn_output", QC_ROWS_PLAIN)
#define ATTENTION_BIASES(query_rows, key_rows)           \
    BIAS("self_attn.q_proj", "attn_q", query_rows),      \
    BIAS("self_attn.k_proj", "attn_k", key_rows),        \
    BIAS("self_attn.v_proj", "attn_v", QC_ROWS_PLAIN)
#define FEED_FORWARD                                     \
    NORM("post_attention_layernorm", "ffn_norm"),        \
    WEIGHT("mlp.gate_proj", "ffn_gate", QC_ROWS_PLAIN),  \
    WEIGHT("mlp.up_proj", "ffn_up", QC_ROWS_PLAIN),      \
    WEIGHT("mlp.down_proj", "ffn_down", QC_ROWS_PLAIN)
/* Without lm_head.weight the head is tied to the embedding. */
#define HEAD                                                          \
    {"model.norm.weight", "output_norm.weight", QC_NAME_KEEP_F32, 0}, \
    {"lm_head.weight", "output.weight", QC_NAME_OPTIONAL, 0}
/* Tables that older exports saved and that every reader computes itself. */
#define TABLES                                           \
    DROP("model.rotary_emb.inv_freq"),                   \
    DROP(BLOCK("self_attn.rotary_emb.inv_freq")),        \
    DROP(BLOCK("attention.bias")),                       \
    DROP(BLOCK("attention.masked_bias"))
#define END {NULL, NULL, 0, 0}
/* clang-format on */

const qc_name_rule llama_names[] = {
    EMBEDDING,
    ATTENTION(QC_ROWS_PAIR_QUERY_HEADS, QC_ROWS_PAIR_KEY_HEADS),
    ATTENTION_BIASES(QC_ROWS_PAIR_QUERY_HEADS, QC_ROWS_PAIR_KEY_HEADS),
    BIAS("self_attn.o_proj", "attn_output", QC_ROWS_PLAIN),
    FEED_FORWARD,
    BIAS("mlp.gate_proj", "ffn_gate", QC_ROWS_PLAIN),
    BIAS("mlp.up_proj", "ffn_up", QC_ROWS_PLAIN),
    BIAS("mlp.down_proj", "ffn_down", QC_ROWS_PLAIN),
    HEAD,
    TABLES,
    END,
};

const qc_name_rule qwen2_names[] = {
    EMBEDDING,
    ATTENTION(QC_ROWS_PLAIN, QC_ROWS_PLAIN),
    ATTENTION_BIASES(QC_ROWS_PLAIN, QC_ROWS_PLAIN),
    FEED_FORWARD,
    HEAD,
    TABLES,
    END,
};

const qc_name_rule qwen3_names[] = {
    EMBEDDING,
    ATTENTION(QC_ROWS_PLAIN, QC_ROWS_PLAIN),
    ATTENTION_BIASES(QC_ROWS_PLAIN, QC_ROWS_PLAIN),
    NORM("self_attn.q_norm", "attn_q_norm"),
    NORM("self_attn.k_norm", "attn_k_norm"),
    FEED_FORWARD,
    HEAD,
    TABLES,
    END,
};
