/* Llama and the families that differ from it in little more than names: Mistral, Qwen 2 and Qwen 3.
 *
 * The hyperparameters' keys are those of llama.cpp's converter (gguf-py, constants.py), so that whatever reads its
 * files reads these.
 */
#include "axes.h"
#include "block.h"
#include "conversion.h"
#include "hyperparameters.h"
#include "rope.h"
#include "shapes.h"
#include "window.h"

enum { MAX_COUNT = 0x7fffffff, MAX_BLOCKS = 100000, MAX_HEAD_SIZE = 65536 };
enum { MAX_CONFIG_BYTES = 16 << 20 };

/* Formats make whole tensors of what these methods pack: codes times scales are the weights. */
static int is_unpacked(const char *method)
{
    static const char *const known[] = {"gptq", "awq", "compressed-tensors"};
    for (size_t i = 0; method && i < sizeof known / sizeof *known; i++)
        if (!strcmp(known[i], method))
            return 1;
    return 0;
}

/* Weights that are packed in ways no format knows, and switches that GGUF has no key for. */
static void reject_what_differs(conversion *c)
{
    const json_t *packing = find(c, "quantization_config");
    const char *method = json_string_value(json_object_get(packing, "quant_method"));
    const char *activation = find_text(c, "hidden_act");
    if (packing && !is_unpacked(method))
        reject(c, QC_E_UNSUPPORTED,
               "the weights are quantized already (%.60s); gptq, awq and compressed-tensors can be read, else start "
               "from the original model",
               method ? method : "method not named");
    else if (json_object_size(json_object_get(packing, "transform_config")) > 0)
        reject(c, QC_E_UNSUPPORTED, "the weights are rotated (\"transform_config\"); start from the original model");
    if (activation && strcmp(activation, "silu") != 0)
        reject(c, QC_E_UNSUPPORTED, "\"hidden_act\" is \"%.60s\"; llama.cpp runs %s with silu alone", activation,
               c->family->id);
}

static void read_head_size(conversion *c, sizes *s)
{
    s->given_head_size = find(c, "head_dim") ? read_count(c, "head_dim", REQUIRED, MAX_HEAD_SIZE) : 0;
    if (c->status != QC_OK)
        return;
    s->head_size = s->given_head_size ? s->given_head_size : s->embedding / s->heads;
    if (!s->given_head_size && s->embedding % s->heads)
        reject(c, QC_E_INVALID, "%u heads do not divide \"hidden_size\" %u", s->heads, s->embedding);
    if (s->head_size % 2 || s->head_size == 0 || s->head_size > MAX_HEAD_SIZE)
        reject(c, QC_E_INVALID, "a head of %u channels; it must be even and at most %d", s->head_size, MAX_HEAD_SIZE);
    if (s->heads % s->key_heads)
        reject(c, QC_E_INVALID, "%u key/value heads do not divide %u heads", s->key_heads, s->heads);
    if (!c->family->free_head_size && (uint64_t)s->head_size * s->heads != s->embedding)
        reject(c, QC_E_UNSUPPORTED, "llama.cpp cannot run %s with %u heads of %u channels beside \"hidden_size\" %u",
               c->family->id, s->heads, s->head_size, s->embedding);
}

static void read_sizes(conversion *c, sizes *s)
{
    s->blocks = read_count(c, "num_hidden_layers", REQUIRED, MAX_BLOCKS);
    s->context = read_count(c, "max_position_embeddings", REQUIRED, MAX_COUNT);
    s->embedding = read_count(c, "hidden_size", REQUIRED, MAX_COUNT);
    s->feed_forward = read_count(c, "intermediate_size", REQUIRED, MAX_COUNT);
    s->vocabulary = read_count(c, "vocab_size", REQUIRED, MAX_COUNT);
    s->heads = read_count(c, "num_attention_heads", REQUIRED, MAX_COUNT);
    s->key_heads = read_count(c, "num_key_value_heads", s->heads, MAX_COUNT);
    s->epsilon = read_number(c, NULL, "rms_norm_eps", REQUIRED, 1e-30, 1);
    read_head_size(c, s);
}

static int is_separator(char c)
{
    return c == '/' || c == '\\';
}

/* The last part of the path or hub name that the config was saved under: nothing of the machine that it was on. */
static void put_name(conversion *c)
{
    const json_t *path = find(c, "_name_or_path");
    const char *start = json_string_value(path);
    size_t end = json_string_length(path);
    while (end > 0 && is_separator(start[end - 1]))
        end--;
    size_t begin = end;
    while (begin > 0 && !is_separator(start[begin - 1]))
        begin--;
    if (begin == end || start[begin] == '.')
        return;
    const qc_text name = {start + begin, end - begin};
    const qc_meta meta = {sizeof meta, "general.name", QC_TEXT, 0, 1, &name};
    c->status = c->out->scan->meta(c->out->scan, c->job, &meta);
}

static void put_general(conversion *c)
{
    const qc_scan *scan = c->out->scan;
    c->status = qc_meta_text(scan, c->job, "general.architecture", c->family->id);
    if (c->status == QC_OK)
        c->status = qc_meta_text(scan, c->job, "general.type", "model");
    if (c->status == QC_OK)
        put_name(c);
}

static void put_sizes(conversion *c, const sizes *s)
{
    put_u32(c, "block_count", s->blocks);
    put_u32(c, "context_length", s->context);
    put_u32(c, "embedding_length", s->embedding);
    put_u32(c, "feed_forward_length", s->feed_forward);
    put_u32(c, "attention.head_count", s->heads);
    put_u32(c, "attention.head_count_kv", s->key_heads);
    if (s->given_head_size) {
        put_u32(c, "attention.key_length", s->head_size);
        put_u32(c, "attention.value_length", s->head_size);
    }
    put_f32(c, "attention.layer_norm_rms_epsilon", s->epsilon);
    put_u32(c, "vocab_size", s->vocabulary);
    put_u32(c, "rope.dimension_count", s->head_size);
}

static void convert(conversion *c)
{
    sizes s = {0};
    reject_what_differs(c);
    read_sizes(c, &s);
    if (c->status != QC_OK)
        return;
    put_general(c);
    put_sizes(c, &s);
    put_shapes(c, &s);
    import_rope(c, s.head_size, s.context);
    import_window(c, s.blocks);
}

static qc_status import(qc_job *job, const qc_source *folder, const qc_import *out, const llama_family *family)
{
    json_t *root = NULL;
    qc_status status = qc_read_json(job, folder, "config.json", 0, MAX_CONFIG_BYTES, &root);
    if (status != QC_OK)
        return status;
    const json_t *text = json_object_get(root, "text_config");
    conversion c = {job, family, root, json_is_object(text) ? text : NULL, out, QC_OK};
    convert(&c);
    json_decref(root);
    return c.status;
}

/* clang-format off */
#define ARCHITECTURE(name, ...)                                                                        \
    static const llama_family family_of_##name = {#name, __VA_ARGS__};                                 \
    static qc_status import_##name(qc_job *job, const qc_source *folder, const qc_import *out)         \
    {                                                                                                  \
        return import(job, folder, out, &family_of_##name);                                            \
    }                                                                                                  \
    static qc_status create_##name(qc_job *job, const qc_metadata *metadata, void **state)             \
    {                                                                                                  \
        return create_hyperparameters(job, metadata, &family_of_##name, state);                        \
    }                                                                                                  \
    static const qc_architecture_desc name = {                                                         \
        {sizeof(qc_architecture_desc), 0, QC_KIND_ARCHITECTURE, #name, NULL}, name##_names,            \
        import_##name, create_##name, destroy_hyperparameters, run_block, run_finish, \
        llama_axes}
/* clang-format on */

ARCHITECTURE(llama, .free_head_size = 1, .rope_factors = 1);
ARCHITECTURE(qwen2, .rotates_halves = 1);
ARCHITECTURE(qwen3, .free_head_size = 1, .rotates_halves = 1, .norms_heads = 1);

QC_PLUGIN(&llama.base, &qwen2.base, &qwen3.base);
