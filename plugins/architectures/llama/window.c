/* The families' own rules, as Hugging Face's configurations have them:
 *
 *   Llama    none, whatever the file says
 *   Mistral  "sliding_window", in all blocks; null: none; absent: 4096
 *   Qwen     the same with "use_sliding_window": true, in the blocks that "layer_types" names, else from
 *            "max_window_layers" (absent: 28) on
 *
 * llama.cpp ignores the keys for these families and attends to everything.
 */
#include "window.h"

enum { DEFAULT_WINDOW = 4096, DEFAULT_FULL_LAYERS = 28, MAX_WINDOW = 0x7fffffff };

static int is_mistral(const conversion *c)
{
    const char *type = find_text(c, "model_type");
    return type && strcmp(type, "mistral") == 0;
}

static int is_qwen(const conversion *c)
{
    return strncmp(c->family->id, "qwen", 4) == 0;
}

static int in_use(const conversion *c)
{
    int by_family = is_mistral(c) || (is_qwen(c) && json_is_true(find(c, "use_sliding_window")));
    return by_family && !is_null(c, "sliding_window");
}

/* Blocks with the window, by name. */
static void mark_named(conversion *c, const json_t *types, uint8_t *marks, uint32_t blocks)
{
    if (!json_is_array(types) || json_array_size(types) != blocks) {
        reject(c, QC_E_INVALID, "\"layer_types\" must be a list of %u names", blocks);
        return;
    }
    for (uint32_t i = 0; i < blocks; i++) {
        const char *type = json_string_value(json_array_get(types, i));
        marks[i] = type && strcmp(type, "sliding_attention") == 0;
        if (!marks[i] && (!type || strcmp(type, "full_attention") != 0))
            reject(c, QC_E_UNSUPPORTED,
                   "\"layer_types\" has \"%.60s\" for block %u; %s has \"full_attention\" and "
                   "\"sliding_attention\"",
                   type ? type : "", i, c->family->id);
    }
}

static void mark_blocks(conversion *c, uint8_t *marks, uint32_t blocks)
{
    const json_t *types = is_qwen(c) ? find(c, "layer_types") : NULL;
    if (types) {
        mark_named(c, types, marks, blocks);
        return;
    }
    double first = is_qwen(c) ? read_number(c, NULL, "max_window_layers", DEFAULT_FULL_LAYERS, 0, MAX_WINDOW) : 0;
    for (uint32_t i = 0; i < blocks; i++)
        marks[i] = i >= first;
}

void import_window(conversion *c, uint32_t blocks)
{
    if (c->status != QC_OK || !in_use(c))
        return;
    uint32_t window = read_count(c, "sliding_window", DEFAULT_WINDOW, MAX_WINDOW), marked = 0;
    uint8_t *marks = (uint8_t *)c->job->scratch(c->job, blocks);
    if (!marks) {
        reject(c, QC_E_NOMEM, "out of memory for %u blocks", blocks);
        return;
    }
    mark_blocks(c, marks, blocks);
    for (uint32_t i = 0; i < blocks && c->status == QC_OK; i++)
        marked += marks[i];
    if (marked == 0)
        return;
    put_u32(c, "attention.sliding_window", window);
    if (marked < blocks)
        put_flags(c, "attention.sliding_window_pattern", marks, blocks);
    if (c->status == QC_OK)
        c->job->host->log(c->job->host, QC_LOG_INFO,
                          "config.json: \"sliding_window\" is kept; llama.cpp attends to the whole text all the same");
}
