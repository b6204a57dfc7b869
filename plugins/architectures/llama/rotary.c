#include "rotary.h"
#include "qcore/math.h"
#include "qcore/number.h"

static const double PI = 3.14159265358979323846;
static const double MIN_FACTOR = 1e-6, MAX_FACTOR = 1e6, MAX_BASE = 1e30;
enum { MAX_LENGTH = 0x7fffffff, POSITIONS = 64 };

static int is_text(const qc_text *text, const char *value)
{
    return text->length == strlen(value) && memcmp(text->data, value, text->length) == 0;
}

/* As llama.cpp: a factor without a type is linear. */
static const qc_text *read_type(reading *r)
{
    static const qc_text linear = {"linear", 6};
    const qc_meta *meta = meta_find(r, "rope.scaling.type");
    if (!meta)
        return &linear;
    if (meta->type != QC_TEXT || meta->is_array) {
        meta_reject(r, QC_E_CORRUPT, "rope.scaling.type", "%s", "must be a text");
        return &linear;
    }
    return (const qc_text *)meta->data;
}

/* The pair that turns `turns` times within the original context, counted as a real number. */
static double turning_pair(const rotary *r, double turns)
{
    return r->size * qc_log(r->original_context / (turns * 2 * PI)) / (2 * qc_log(r->base));
}

static double round_down(double x)
{
    double bounded = x < -1e9 ? -1e9 : x > 1e9 ? 1e9 : x;
    double whole = (double)(int64_t)bounded;
    return whole > bounded ? whole - 1 : whole;
}

static void read_yarn(reading *r, rotary *out)
{
    double fast = meta_number(r, "rope.scaling.yarn_beta_fast", 32, MIN_FACTOR, MAX_FACTOR);
    double slow = meta_number(r, "rope.scaling.yarn_beta_slow", 1, MIN_FACTOR, MAX_FACTOR);
    double extrapolation = meta_number(r, "rope.scaling.yarn_ext_factor", 1, -1, MAX_FACTOR);
    if (r->status != QC_OK)
        return;
    if (out->base <= 1) {
        meta_reject(r, QC_E_CORRUPT, "rope.freq_base", "%.9g; YaRN needs one above 1", out->base);
        return;
    }
    double low = round_down(turning_pair(out, fast)), high = -round_down(-turning_pair(out, slow));
    out->extrapolation = extrapolation < 0 ? 1 : extrapolation; /* below 0: not set */
    out->ramp_low = low > 0 ? low : 0;
    out->ramp_high = high < out->size - 1 ? high : out->size - 1;
    double attention = out->extrapolation > 0 && out->scale < 1 ? 1 - 0.1 * qc_log(out->scale) : 1;
    out->magnitude = (float)meta_number(r, "rope.scaling.yarn_attn_factor", attention, 0, MAX_FACTOR);
}

static void read_scaling(reading *r, rotary *out)
{
    const qc_text *type = read_type(r);
    double factor = meta_number(r, "rope.scaling.factor", meta_number(r, "rope.scale_linear", 0, 0, MAX_FACTOR), 0,
                                MAX_FACTOR); /* 0: none */
    out->scale = factor > 0 && !is_text(type, "none") ? 1 / factor : 1;
    out->magnitude = 1;
    if (is_text(type, "yarn"))
        read_yarn(r, out);
    else if (is_text(type, "longrope"))
        out->long_short = 1;
    else if (!is_text(type, "none") && !is_text(type, "linear"))
        meta_reject(r, QC_E_UNSUPPORTED, "rope.scaling.type",
                    "\"%.*s\" cannot be run; none, linear, yarn and longrope can",
                    type->length < 60 ? (int)type->length : 60, type->data);
    out->magnitude *= (float)meta_number(r, "rope.scaling.attn_factor", 1, 0, MAX_FACTOR);
}

void read_rotary(reading *r, uint32_t head_size, rotary *out)
{
    uint32_t context = meta_count(r, "context_length", NEEDED, 1, MAX_LENGTH);
    out->halves = r->family->rotates_halves;
    out->base = meta_number(r, "rope.freq_base", 10000, MIN_FACTOR, MAX_BASE);
    out->original_context = meta_count(r, "rope.scaling.original_context_length", context, 1, MAX_LENGTH);
    out->size = meta_count(r, "rope.dimension_count", head_size, 2, head_size > 2 ? head_size : 2);
    if (out->size % 2)
        meta_reject(r, QC_E_CORRUPT, "rope.dimension_count", "%u, not an even number", out->size);
    if (out->size > head_size)
        meta_reject(r, QC_E_CORRUPT, "rope.dimension_count", "%u channels turn in heads of %u", out->size, head_size);
    read_scaling(r, out);
}

/* ---- tables ---- */

static float frequency(const rotary *r, uint32_t pair, const float *factors)
{
    double plain = qc_pow(r->base, -2.0 * pair / r->size) / (factors ? (double)factors[pair] : 1);
    double width = r->ramp_high - r->ramp_low > 0.001 ? r->ramp_high - r->ramp_low : 0.001;
    double ramp = (pair - r->ramp_low) / width;
    double kept = r->extrapolation * (1 - (ramp < 0 ? 0 : ramp > 1 ? 1 : ramp));
    return (float)(plain * r->scale * (1 - kept) + plain * kept);
}

typedef struct table_work {
    const rotary *rotary;
    const float *frequencies;
    float *turns;
} table_work;

static qc_status fill_table(void *arg, qc_job *job, size_t begin, size_t end)
{
    const table_work *w = (const table_work *)arg;
    size_t pairs = w->rotary->size / 2;
    (void)job;
    for (size_t position = begin; position < end; position++)
        for (size_t i = 0; i < pairs; i++) {
            double sine, cosine;
            float angle = (float)position * w->frequencies[i];
            float *turns = w->turns + position * 2 * pairs;
            qc_sincos((double)angle, &sine, &cosine);
            turns[i] = (float)cosine * w->rotary->magnitude;
            turns[pairs + i] = (float)sine * w->rotary->magnitude;
        }
    return QC_OK;
}

static qc_status make_table(qc_job *job, const rotary *r, const float *factors, size_t n_positions, const float **out)
{
    uint64_t bytes = 0;
    float *frequencies = (float *)job->scratch(job, r->size / 2 * sizeof *frequencies);
    int fits = qc_mul_size(n_positions, r->size * sizeof **out, &bytes) && (size_t)bytes == bytes;
    float *turns = fits ? (float *)job->scratch(job, (size_t)bytes) : NULL;
    if (!frequencies || !turns)
        return qc_fail(job, QC_E_NOMEM, "out of memory for the rotary embedding of %zu positions", n_positions);
    for (uint32_t i = 0; i < r->size / 2; i++)
        frequencies[i] = frequency(r, i, factors);
    table_work work = {r, frequencies, turns};
    *out = turns;
    return job->parallel_for(job, n_positions, POSITIONS, fill_table, &work);
}

static qc_status find_factors(qc_job *job, const rotary *r, const qc_pass *pass, const char *name, const float **out)
{
    size_t n = 0;
    qc_status status = pass->vector(pass, job, name, out, &n);
    if (status != QC_OK || !*out)
        return status;
    if (n != r->size / 2)
        return qc_fail(job, QC_E_CORRUPT, "%s: %zu values; %u channels that turn need %u", name, n, r->size,
                       r->size / 2);
    for (size_t i = 0; i < n; i++)
        if (!qc_is_finite((*out)[i]) || !((*out)[i] > 0))
            return qc_fail(job, QC_E_CORRUPT, "%s: value %zu is not a factor above 0", name, i);
    return QC_OK;
}

static size_t longest_sequence(const qc_pass *pass)
{
    size_t longest = 0;
    for (size_t s = 0; s < pass->n_sequences; s++)
        if (pass->starts[s + 1] - pass->starts[s] > longest)
            longest = pass->starts[s + 1] - pass->starts[s];
    return longest;
}

qc_status make_rotary_tables(qc_job *job, const rotary *r, const qc_pass *pass, rotary_tables *out)
{
    const float *factors = NULL;
    size_t positions = longest_sequence(pass);
    qc_status status = find_factors(job, r, pass, r->long_short ? "rope_factors_short.weight" : "rope_freqs.weight",
                                    &factors);
    if (status == QC_OK)
        status = make_table(job, r, factors, positions, &out->of_short);
    out->of_long = out->of_short;
    if (status != QC_OK || !r->long_short || positions <= r->original_context)
        return status;
    status = find_factors(job, r, pass, "rope_factors_long.weight", &factors);
    return status == QC_OK ? make_table(job, r, factors, positions, &out->of_long) : status;
}

const float *rotary_turns(const rotary *r, const rotary_tables *t, size_t length, size_t position)
{
    return (length > r->original_context ? t->of_long : t->of_short) + position * r->size;
}

void rotate_head(const rotary *r, const float *turns, float *head)
{
    size_t pairs = r->size / 2, next = r->halves ? 1 : 2, apart = r->halves ? pairs : 1;
    for (size_t i = 0; i < pairs; i++) {
        float *a = head + i * next, *b = a + apart;
        float cosine = turns[i], sine = turns[pairs + i], x = *a, y = *b;
        *a = x * cosine - y * sine;
        *b = y * cosine + x * sine;
    }
}
