#include "rope.h"

static const double PI = 3.14159265358979323846;
static const double MIN_FACTOR = 1e-6, MAX_FACTOR = 1e6, MAX_BASE = 1e30, MAX_LENGTH = 0x7fffffff;

/* Newer configs keep the settings in rope_parameters (where a model has several kinds of layers, in one object a kind),
 * older ones in rope_scaling and, for the base, beside it. */
static const json_t *find_settings(conversion *c)
{
    const json_t *settings = find(c, "rope_parameters");
    if (!settings)
        settings = find(c, "rope_scaling");
    if (settings && !json_is_object(settings))
        reject(c, QC_E_INVALID, "the settings of RoPE must be an object");
    const json_t *full = json_object_get(settings, "full_attention");
    return json_is_object(full) ? full : settings;
}

static const char *find_type(conversion *c, const json_t *settings)
{
    const json_t *type = json_object_get(settings, "rope_type");
    if (!type || json_is_null(type))
        type = json_object_get(settings, "type");
    if (!type || json_is_null(type))
        return "default";
    if (!json_is_string(type))
        reject(c, QC_E_INVALID, "\"rope_type\" must be a string");
    return json_is_string(type) ? json_string_value(type) : "default";
}

/* A setting that some files keep beside the object instead. */
static double setting(conversion *c, const json_t *settings, const char *key, double otherwise, double lowest,
                      double highest)
{
    const json_t *own = json_object_get(settings, key);
    return read_number(c, own && !json_is_null(own) ? settings : NULL, key, otherwise, lowest, highest);
}

static void import_linear(conversion *c, const json_t *settings)
{
    double factor = read_number(c, settings, "factor", REQUIRED, MIN_FACTOR, MAX_FACTOR);
    put_text(c, "rope.scaling.type", "linear");
    put_f32(c, "rope.scaling.factor", factor);
}

/* YaRN, arXiv:2309.00071. What the config does not say is left to the reader: llama.cpp and Hugging Face share the
 * paper's defaults. */
static void import_yarn(conversion *c, const json_t *settings, uint32_t context_length)
{
    static const struct {
        const char *source, *canonical;
    } optional[] = {
        {"extrapolation_factor", "rope.scaling.yarn_ext_factor"},
        {"attention_factor", "rope.scaling.yarn_attn_factor"},
        {"beta_fast", "rope.scaling.yarn_beta_fast"},
        {"beta_slow", "rope.scaling.yarn_beta_slow"},
    };
    double factor = read_number(c, settings, "factor", REQUIRED, MIN_FACTOR, MAX_FACTOR);
    double original = setting(c, settings, "original_max_position_embeddings", context_length, 1, MAX_LENGTH);
    if (setting(c, settings, "mscale", 0, 0, MAX_FACTOR) != 0)
        reject(c, QC_E_UNSUPPORTED, "llama.cpp cannot run %s with RoPE's \"mscale\"", c->family->id);
    if (json_is_false(json_object_get(settings, "truncate")))
        reject(c, QC_E_UNSUPPORTED, "llama.cpp cannot run %s with RoPE's \"truncate\": false", c->family->id);
    put_text(c, "rope.scaling.type", "yarn");
    put_f32(c, "rope.scaling.factor", factor);
    put_u32(c, "rope.scaling.original_context_length", (uint32_t)original);
    for (size_t i = 0; i < sizeof optional / sizeof *optional; i++) {
        double value = read_number(c, settings, optional[i].source, 0, 0, MAX_FACTOR);
        if (value > 0) /* Hugging Face takes 0 for absent */
            put_f32(c, optional[i].canonical, value);
    }
}

static double power(double x, uint32_t n)
{
    double result = 1;
    for (; n; n >>= 1, x *= x)
        if (n & 1)
            result *= x;
    return result;
}

/* The n-th root of x >= 1 by bisection. A library's pow may differ in the last bit from one CPU to the next; products
 * of doubles do not. */
static double root(double x, uint32_t n)
{
    double low = 1, high = x;
    for (;;) {
        double middle = low + (high - low) / 2;
        if (middle <= low || middle >= high)
            return low;
        if (power(middle, n) <= x)
            low = middle;
        else
            high = middle;
    }
}

/* Llama 3.1's scaling: pair i turns by base^(-2i/D) a position, divided by a factor that grows from 1 for waves short
 * beside the original context to `factor` for long ones. */
static void import_llama3(conversion *c, const json_t *settings, double base, uint32_t head_size)
{
    double factor = setting(c, settings, "factor", 8, MIN_FACTOR, MAX_FACTOR);
    double low = setting(c, settings, "low_freq_factor", 1, MIN_FACTOR, MAX_FACTOR);
    double high = setting(c, settings, "high_freq_factor", 4, MIN_FACTOR, MAX_FACTOR);
    double original = setting(c, settings, "original_max_position_embeddings", 8192, 1, MAX_LENGTH);
    if (!(high > low))
        reject(c, QC_E_INVALID, "\"high_freq_factor\" must be above \"low_freq_factor\"");
    uint32_t pairs = head_size / 2;
    float *values = (float *)c->job->scratch(c->job, pairs * sizeof *values);
    if (!values)
        reject(c, QC_E_NOMEM, "out of memory for %u rotary factors", pairs);
    if (!values || c->status != QC_OK)
        return;
    double ratio = root(base, pairs), length = 2 * PI; /* of the wave, in positions */
    for (uint32_t i = 0; i < pairs; i++, length *= ratio) {
        double t = (original / length - low) / (high - low);
        double value = t > 1 ? 1 : t < 0 ? factor : 1 / ((1 - t) / factor + t);
        values[i] = (float)value;
    }
    c->status = c->out->vector(c->out, c->job, "rope_freqs.weight", values, pairs);
}

void import_rope(conversion *c, uint32_t head_size, uint32_t context_length)
{
    const json_t *settings = find_settings(c);
    const char *type = find_type(c, settings);
    double base = setting(c, settings, "rope_theta", 10000, 1, MAX_BASE);
    if (setting(c, settings, "partial_rotary_factor", 1, 0, 1) != 1)
        reject(c, QC_E_UNSUPPORTED, "llama.cpp cannot run %s with a partial rotary embedding", c->family->id);
    put_f32(c, "rope.freq_base", base);
    if (c->status != QC_OK || strcmp(type, "default") == 0)
        return;
    if (strcmp(type, "linear") == 0)
        import_linear(c, settings);
    else if (strcmp(type, "yarn") == 0)
        import_yarn(c, settings, context_length);
    else if (strcmp(type, "llama3") == 0 && c->family->rope_factors)
        import_llama3(c, settings, base, head_size);
    else
        reject(c, QC_E_UNSUPPORTED, "llama.cpp cannot run %s with RoPE scaling \"%.60s\"", c->family->id, type);
}
