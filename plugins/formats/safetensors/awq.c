/* AWQ, as AutoAWQ's "gemm" kernels take it: 4 bits. Linear P of K inputs and O outputs, groups of G inputs:
 *
 *   P.qweight  I32 [K, O / 8]      along a row, the codes of all outputs for one input, eight a word:
 *   P.qzeros   I32 [K / G, O / 8]  their zero points, likewise
 *   P.scales   F16 [K / G, O]
 *
 *   word c   bits 31 .. 0:   output 8c + 7 | 5 | 3 | 1 | 6 | 4 | 2 | 0 */
#include "checkpoint.h"

enum { BITS = 4, PER_WORD = 8 };

static const char *refuses(const qc_tensor *t, const ck_scheme *s)
{
    if (s->bits != BITS)
        return "AWQ layouts have 4 bits";
    return t->dims[1] % PER_WORD ? "AWQ layouts need a multiple of 8 rows" : NULL;
}

static qc_status choose(qc_job *job, const qc_model *model, const qc_settings *settings, ck_folder *f)
{
    (void)model;
    (void)settings;
    f->scale_dtype = st_dtype_by_name("F16");
    for (size_t i = 1; i < f->n; i++)
        if (f->linears[i].scheme.group != f->linears[0].scheme.group)
            return qc_fail(job, QC_E_UNSUPPORTED,
                           "%s and %s have groups of different sizes, and AWQ layouts have one for all: choose one "
                           "encoding, or leave one of them as it is",
                           f->linears[0].name, f->linears[i].name);
    return QC_OK;
}

static size_t arrays(const ck_folder *f, const ck_linear *l, ck_array a[CK_N_PARTS])
{
    (void)f;
    a[0] = (ck_array){CK_CODES, 2, "qweight", "I32", {l->cols, l->rows / PER_WORD}};
    a[1] = (ck_array){CK_ZEROS, 2, "qzeros", "I32", {l->groups, l->rows / PER_WORD}};
    a[2] = (ck_array){CK_SCALES, 2, "scales", "F16", {l->groups, l->rows}};
    return 3;
}

/* Codes [n_lines][n] of outputs, words of eight in the kernel's order. */
static qc_status put(const ck_rows *r, int part, const uint8_t *code, size_t n_lines)
{
    static const size_t output_of[PER_WORD] = {0, 2, 4, 6, 1, 3, 5, 7};
    size_t n = r->n, words = n / PER_WORD;
    uint32_t *packed = r->job->scratch(r->job, words * n_lines * 4);
    if (!packed)
        return qc_fail(r->job, QC_E_NOMEM, "out of memory for codes");
    for (size_t w = 0; w < words * n_lines; w++) {
        packed[w] = 0;
        for (size_t k = 0; k < PER_WORD; k++)
            packed[w] |= (uint32_t)code[w * PER_WORD + output_of[k]] << (BITS * k);
    }
    ck_little_endian(packed, words * n_lines);
    return ck_put(r, part, r->row / 2, r->linear->rows / 2, packed, words * 4, n_lines);
}

static qc_status store(const ck_rows *r)
{
    qc_status status = put(r, CK_CODES, r->code, (size_t)r->linear->cols);
    if (status == QC_OK)
        status = put(r, CK_ZEROS, r->zero, (size_t)r->linear->groups);
    return status == QC_OK ? ck_put_scales(r, r->row * 2, r->linear->rows * 2, 0) : status;
}

/* zero_point is true for symmetric codes too: no fast kernel takes codes without zero points. */
static json_t *quantization(const qc_model *model, const ck_folder *f)
{
    uint32_t group = f->linears[0].scheme.group;
    json_t *left = ck_left_alone(model);
    if (json_array_size(left) == 0) {
        json_decref(left);
        left = json_null();
    }
    json_t *q = json_pack("{s:s, s:i, s:I, s:b, s:s, s:o}", "quant_method", "awq", "bits", BITS, "group_size",
                          group ? (json_int_t)group : (json_int_t)-1, "zero_point", 1, "version", "gemm",
                          "modules_to_not_convert", left);
    if (q && ck_quantizes_head(f))
        json_object_set_new(q, "lm_head", json_true());
    return q;
}

const ck_layout ck_awq = {
    .id = "awq", .refuses = refuses, .choose = choose, .arrays = arrays, .quantization = quantization, .store = store};
