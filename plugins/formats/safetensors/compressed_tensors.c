/* compressed-tensors. Linear P of K inputs and O outputs, b bits, groups of G inputs:
 *
 *   pack-quantized (weights only)
 *   P.weight_packed      I32 [O, K b / 32]       along a row, its codes as a bit string; the rest of the last word is 0
 *   P.weight_scale       BF16, F16, F32 [O, K / G]
 *   P.weight_zero_point  I32 [O b / 32, K / G]   down a column, the zero points of all outputs as a bit string; none
 *                                                where they are all 2^(b - 1)
 *   P.weight_shape       I64 [2]                 O, K
 *
 *   int-quantized (weights and activations of 8 bits)
 *   P.weight             I8  [O, K]              code - 128
 *   P.weight_scale       F32 [O, 1] */
#include "checkpoint.h"
#include "config.h"

enum { PACKED, UNPACKED };

static const char *const forms[] = {"pack-quantized", "int-quantized"};

static const char *refuses(const qc_tensor *t, const ck_scheme *s)
{
    (void)t;
    (void)s;
    return NULL;
}

static const st_dtype *scale_dtype(qc_job *job, const qc_model *model, const qc_settings *settings, int form)
{
    const char *asked = job->host->text(settings, "scale_dtype"), *plain = st_plain_encoding(model);
    if (strcmp(asked, "auto") != 0)
        return st_dtype_by_encoding(asked);
    return st_dtype_by_encoding(form == UNPACKED || !plain ? "f32" : plain);
}

static qc_status choose(qc_job *job, const qc_model *model, const qc_settings *settings, ck_folder *f)
{
    f->variant = strcmp(job->host->text(settings, "layout"), forms[UNPACKED]) ? PACKED : UNPACKED;
    f->scale_dtype = scale_dtype(job, model, settings, f->variant);
    for (size_t i = 0; f->variant == UNPACKED && i < f->n; i++) {
        const ck_scheme *s = &f->linears[i].scheme;
        if (s->bits != 8 || s->group != 0 || !s->symmetric)
            return qc_fail(job, QC_E_UNSUPPORTED,
                           "%s: layout int-quantized keeps 8 bits with one scale for each row: choose the encoding "
                           "int8_channel, or layout pack-quantized",
                           f->linears[i].name);
    }
    return QC_OK;
}

static size_t arrays(const ck_folder *f, const ck_linear *l, ck_array a[CK_N_PARTS])
{
    uint32_t b = l->scheme.bits;
    a[1] = (ck_array){CK_SCALES, 2, "weight_scale", f->scale_dtype->name, {l->rows, l->groups}};
    if (f->variant == UNPACKED) {
        a[0] = (ck_array){CK_CODES, 2, "weight", "I8", {l->rows, l->cols}};
        return 2;
    }
    a[0] = (ck_array){CK_CODES, 2, "weight_packed", "I32", {l->rows, ck_words((size_t)l->cols, b)}};
    a[2] = (ck_array){CK_SHAPE, 1, "weight_shape", "I64", {2, 0}};
    a[3] = (ck_array){CK_ZEROS, 2, "weight_zero_point", "I32", {ck_words((size_t)l->rows, b), l->groups}};
    return l->scheme.symmetric ? 3 : 4;
}

/* ---- rows ---- */

static qc_status put_packed(const ck_rows *r)
{
    size_t cols = (size_t)r->linear->cols;
    uint64_t bytes = 4 * ck_words(cols, r->linear->scheme.bits);
    const ck_strings codes = {CK_CODES,          .fields = r->code,    .from = {r->n, 1}, .n_fields = cols,
                              .n_strings = r->n, .at = r->row * bytes, .stride = bytes};
    return ck_put_strings(r, &codes);
}

static qc_status put_zeros(const ck_rows *r)
{
    uint64_t bytes = 4 * r->linear->groups;
    const ck_strings zeros = {CK_ZEROS,
                              .down = 1,
                              .fields = r->zero,
                              .from = {1, r->n},
                              .n_fields = r->n,
                              .n_strings = (size_t)r->linear->groups,
                              .at = r->row * r->linear->scheme.bits / 32 * bytes,
                              .stride = bytes};
    return ck_put_strings(r, &zeros);
}

static qc_status put_bytes(const ck_rows *r)
{
    size_t n = r->n, cols = (size_t)r->linear->cols;
    uint8_t *bytes = r->job->scratch(r->job, n * cols);
    if (!bytes)
        return qc_fail(r->job, QC_E_NOMEM, "out of memory for codes");
    for (size_t i = 0; i < n; i++)
        for (size_t c = 0; c < cols; c++)
            bytes[i * cols + c] = r->code[c * n + i] ^ 0x80; /* less 128, in two's complement */
    return ck_put(r, CK_CODES, r->row * cols, cols, bytes, cols, n);
}

static qc_status store(const ck_rows *r)
{
    uint64_t scales = r->linear->groups * r->folder->scale_dtype->bytes;
    qc_status status = r->folder->variant == UNPACKED ? put_bytes(r) : put_packed(r);
    if (status == QC_OK && !r->linear->scheme.symmetric)
        status = put_zeros(r);
    return status == QC_OK ? ck_put_scales(r, r->row * scales, scales, 1) : status;
}

/* ---- quantization_config ---- */

static json_t *weights_json(const ck_scheme *s)
{
    json_t *w = json_pack("{s:i, s:s, s:b, s:s, s:b}", "num_bits", (int)s->bits, "type", "int", "symmetric",
                          s->symmetric, "strategy", s->group ? "group" : "channel", "dynamic", 0);
    if (w && s->group)
        json_object_set_new(w, "group_size", json_integer(s->group));
    return w;
}

static json_t *group_json(const ck_folder *f, const ck_scheme *s, json_t *targets)
{
    json_t *activations = f->variant == PACKED ? json_null()
                                               : json_pack("{s:i, s:s, s:b, s:s, s:b}", "num_bits", 8, "type", "int",
                                                           "symmetric", 1, "strategy", "token", "dynamic", 1);
    return json_pack("{s:o, s:s, s:o, s:o, s:n}", "targets", targets, "format", forms[f->variant], "weights",
                     weights_json(s), "input_activations", activations, "output_activations");
}

static int is_first_of_scheme(const ck_folder *f, size_t linear)
{
    for (size_t i = 0; i < linear; i++)
        if (ck_same_scheme(&f->linears[i].scheme, &f->linears[linear].scheme))
            return 0;
    return 1;
}

/* All linears of a scheme by name; "Linear" where there is but one scheme, except that a quantized output head must be
 * named: it is no "Linear" to every loader. */
static json_t *targets_of(const ck_folder *f, const ck_scheme *s, int one_scheme)
{
    json_t *targets = json_array();
    if (one_scheme)
        json_array_append_new(targets, json_string("Linear"));
    for (size_t i = 0; i < f->n; i++) {
        const char *name = f->linears[i].name;
        if (ck_same_scheme(&f->linears[i].scheme, s) && (!one_scheme || ck_is_head(name)))
            json_array_append_new(targets, json_stringn(name, ck_module_length(name)));
    }
    return targets;
}

static json_t *groups_json(const ck_folder *f)
{
    json_t *groups = json_object();
    size_t n = 0, n_schemes = 0;
    for (size_t i = 0; i < f->n; i++)
        n_schemes += (size_t)is_first_of_scheme(f, i);
    for (size_t i = 0; i < f->n; i++) {
        char name[32];
        const ck_scheme *s = &f->linears[i].scheme;
        if (!is_first_of_scheme(f, i))
            continue;
        snprintf(name, sizeof name, "group_%zu", n++);
        json_object_set_new(groups, name, group_json(f, s, targets_of(f, s, n_schemes == 1)));
    }
    return groups;
}

/* Every linear that is left alone; the head too where it is the embedding and not stored. */
static json_t *ignore_json(const qc_model *model)
{
    json_t *ignore = ck_left_alone(model);
    for (size_t i = 0; i < model->n_tensors; i++)
        if (ck_is_head(model->tensors[i]->name))
            return ignore;
    json_array_append_new(ignore, json_string("lm_head"));
    return ignore;
}

static json_t *quantization(const qc_model *model, const ck_folder *f)
{
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:n}", "quant_method", "compressed-tensors", "format",
                     forms[f->variant], "quantization_status", "compressed", "config_groups", groups_json(f), "ignore",
                     ignore_json(model), "kv_cache_scheme");
}

const ck_layout ck_compressed_tensors = {.id = "compressed-tensors",
                                         .refuses = refuses,
                                         .choose = choose,
                                         .arrays = arrays,
                                         .quantization = quantization,
                                         .store = store};
