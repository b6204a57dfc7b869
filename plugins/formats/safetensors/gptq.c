/* GPTQ, as AutoGPTQ and GPTQModel keep it. Linear P of K inputs and O outputs, b bits, groups of G inputs:
 *
 *   P.qweight  I32 [K b / 32, O]     down a column, the codes of one output as a bit string over its inputs
 *   P.qzeros   I32 [K / G, O b / 32] along a row, the zero points of all outputs in one group as a bit string;
 *                                    v1 ("gptq"): less one; v2 ("gptq_v2"): as they are
 *   P.scales   F16 [K / G, O]
 *   P.g_idx    I32 [K]               the group of each input; inputs stay in their own order */
#include "checkpoint.h"

enum { V1, V2 };

static const char *refuses(const qc_tensor *t, const ck_scheme *s)
{
    if (s->bits != 2 && s->bits != 3 && s->bits != 4 && s->bits != 8)
        return "GPTQ layouts have 2, 3, 4 or 8 bits";
    if (t->dims[0] * s->bits % 32 || t->dims[1] % (s->bits == 3 ? 32 : 32 / s->bits))
        return "its rows and columns do not fill whole 32-bit words, as GPTQ layouts need: keep it as it is, or write "
               "compressed-tensors";
    return NULL;
}

/* The scheme that most linears have is the folder's, the others are exceptions. */
static const ck_scheme *usual(const ck_folder *f)
{
    const ck_linear *best = f->linears;
    size_t most = 0;
    for (size_t i = 0; i < f->n; i++) {
        size_t n = 0;
        for (size_t k = 0; k < f->n; k++)
            n += (size_t)ck_same_scheme(&f->linears[i].scheme, &f->linears[k].scheme);
        if (n > most) {
            most = n;
            best = &f->linears[i];
        }
        if (most * 2 > f->n)
            break;
    }
    return &best->scheme;
}

static qc_status choose(qc_job *job, const qc_model *model, const qc_settings *settings, ck_folder *f)
{
    const char *asked = job->host->text(settings, "checkpoint_format");
    const ck_linear *asymmetric = NULL;
    (void)model;
    for (size_t i = 0; i < f->n && !asymmetric; i++)
        if (!f->linears[i].scheme.symmetric)
            asymmetric = &f->linears[i];
    f->variant = !strcmp(asked, "gptq_v2") || (strcmp(asked, "gptq") != 0 && asymmetric) ? V2 : V1;
    f->scale_dtype = st_dtype_by_name("F16");
    if (f->variant == V1 && asymmetric)
        return qc_fail(job, QC_E_UNSUPPORTED,
                       "%s has zero points, which may be 0, and checkpoint_format gptq stores them less one, so that "
                       "programs read a 0 differently: take gptq_v2, or a symmetric encoding",
                       asymmetric->name);
    return QC_OK;
}

static size_t arrays(const ck_folder *f, const ck_linear *l, ck_array a[CK_N_PARTS])
{
    uint32_t b = l->scheme.bits;
    (void)f;
    a[0] = (ck_array){CK_CODES, 2, "qweight", "I32", {l->cols * b / 32, l->rows}};
    a[1] = (ck_array){CK_ZEROS, 2, "qzeros", "I32", {l->groups, l->rows * b / 32}};
    a[2] = (ck_array){CK_SCALES, 2, "scales", "F16", {l->groups, l->rows}};
    a[3] = (ck_array){CK_GROUPS, 1, "g_idx", "I32", {l->cols, 0}};
    return 4;
}

/* ---- rows ---- */

static qc_status put_groups(const ck_rows *r)
{
    size_t cols = (size_t)r->linear->cols, group = cols / (size_t)r->linear->groups;
    unsigned char *data = r->job->scratch(r->job, cols * 4);
    if (!data)
        return qc_fail(r->job, QC_E_NOMEM, "out of memory for g_idx");
    for (size_t i = 0; i < cols; i++)
        qc_store_le32(data + 4 * (r->order ? r->order[i] : i), (uint32_t)(i / group));
    return ck_put(r, CK_GROUPS, 0, 4, data, 4, cols);
}

static qc_status put_codes(const ck_rows *r)
{
    const ck_strings codes = {CK_CODES,
                              .down = 1,
                              .fields = r->code,
                              .from = {r->n, 1},
                              .n_fields = (size_t)r->linear->cols,
                              .n_strings = r->n,
                              .at = r->row * 4,
                              .stride = r->linear->rows * 4};
    return ck_put_strings(r, &codes);
}

static qc_status put_zeros(const ck_rows *r)
{
    uint32_t bits = r->linear->scheme.bits;
    size_t n = r->n, groups = (size_t)r->linear->groups;
    const ck_strings zeros = {CK_ZEROS,
                              .fields = r->zero,
                              .from = {1, n},
                              .n_fields = n,
                              .n_strings = groups,
                              .at = r->row * bits / 8,
                              .stride = r->linear->rows * bits / 8};
    for (size_t i = 0; r->folder->variant == V1 && i < groups * n; i++)
        r->zero[i]--; /* symmetric: never 0 */
    return ck_put_strings(r, &zeros);
}

static qc_status store(const ck_rows *r)
{
    qc_status status = r->row == 0 ? put_groups(r) : QC_OK;
    if (status == QC_OK)
        status = put_codes(r);
    if (status == QC_OK)
        status = put_zeros(r);
    return status == QC_OK ? ck_put_scales(r, r->row * 2, r->linear->rows * 2, 0) : status;
}

/* ---- quantization_config ---- */

/* A regular expression for one module, of `name` with ".weight", behind "+:" or "-:". */
static void pattern_of(const char *name, const char *sign, char *to, size_t room)
{
    size_t n = ck_module_length(name), last;
    size_t used = (size_t)snprintf(to, room, "%s^", sign);
    const char *fused = ck_fused_name(name, &last);
    for (size_t i = 0; i < n && used + 40 < room; i++) {
        if (i == last && fused)
            break;
        if (strchr("\\^$.|?*+()[]{}", name[i]))
            to[used++] = '\\';
        to[used++] = name[i];
    }
    if (fused)
        snprintf(to + used, room - used, "(?:%.*s|%s)$", (int)(n - last), name + last, fused);
    else
        snprintf(to + used, room - used, "$");
}

static json_int_t group_size(const ck_scheme *s)
{
    return s->group ? (json_int_t)s->group : -1;
}

/* What is not as `all`: linears of another scheme, and those left alone. */
static json_t *exceptions(const qc_model *model, const ck_folder *f, const ck_scheme *all)
{
    json_t *dynamic = json_object();
    char pattern[600];
    const ck_linear *next = f->linears, *end = f->linears + f->n;
    for (size_t i = 0; dynamic && i < model->n_tensors; i++) {
        const char *name = model->tensors[i]->name;
        int is_linear = next < end && next->tensor == i;
        const ck_linear *l = is_linear ? next++ : NULL;
        if (l && !ck_same_scheme(&l->scheme, all)) {
            pattern_of(name, "+:", pattern, sizeof pattern);
            json_object_set_new(dynamic, pattern,
                                json_pack("{s:i, s:I, s:b}", "bits", (int)l->scheme.bits, "group_size",
                                          group_size(&l->scheme), "sym", l->scheme.symmetric));
        } else if (!l && !ck_is_head(name) && ck_is_left_alone(model->tensors[i])) {
            pattern_of(name, "-:", pattern, sizeof pattern);
            json_object_set_new(dynamic, pattern, json_object());
        }
    }
    return dynamic;
}

/* "self_attn.q_proj" of "model.layers.0.self_attn.q_proj.weight": what follows the block's number; NULL: no block. */
static const char *in_block(const char *name)
{
    for (const char *c = strchr(name, '.'); c; c = strchr(c + 1, '.')) {
        size_t digits = strspn(c + 1, "0123456789");
        if (digits && c[1 + digits] == '.')
            return c + 2 + digits;
    }
    return NULL;
}

/* Is a linear of this name left alone in some other block? */
static int is_left_elsewhere(const qc_model *model, const char *word)
{
    for (size_t i = 0; i < model->n_tensors; i++) {
        const char *other = ck_is_left_alone(model->tensors[i]) ? in_block(model->tensors[i]->name) : NULL;
        if (other && !strcmp(other, word))
            return 1;
    }
    return 0;
}

/* What is quantized, where some is not: then loaders must be told. By the name within a block, or, where only some
 * blocks' is, by the whole name; loaders compare ends, or look for a part. NULL: no need. Experts are left out: their
 * loaders go by what is stored. */
static json_t *quantized_in_block(const qc_model *model, const ck_folder *f)
{
    json_t *seen = json_object(), *list = json_array();
    int some_left = 0;
    for (size_t i = 0; i < model->n_tensors; i++)
        some_left = some_left || (!ck_is_head(model->tensors[i]->name) && ck_is_left_alone(model->tensors[i]));
    for (size_t i = 0; some_left && seen && list && i < f->n; i++) {
        const char *name = f->linears[i].name, *inside = in_block(name);
        char word[300];
        if (!inside || strstr(inside, "experts."))
            continue;
        name = is_left_elsewhere(model, inside) ? name : inside;
        snprintf(word, sizeof word, "%.*s", (int)ck_module_length(name), name);
        if (!json_object_get(seen, word))
            json_array_append_new(list, json_string(word));
        json_object_set_new(seen, word, json_true());
    }
    json_decref(seen);
    if (json_array_size(list))
        return json_pack("[o]", list);
    json_decref(list);
    return NULL;
}

static json_t *quantization(const qc_model *model, const ck_folder *f)
{
    const ck_scheme *all = usual(f);
    const char *form = f->variant == V1 ? "gptq" : "gptq_v2";
    int has_order = 0;
    for (size_t i = 0; i < f->n; i++)
        has_order = has_order || f->linears[i].has_order;
    json_t *q = json_pack("{s:s, s:i, s:I, s:b, s:b, s:s, s:s, s:s, s:b, s:f, s:b, s:{s:[s]}}", "quant_method", "gptq",
                          "bits", (int)all->bits, "group_size", group_size(all), "desc_act", has_order, "sym",
                          all->symmetric, "checkpoint_format", form, "format", form, "pack_dtype", "int32", "lm_head",
                          ck_quantizes_head(f), "damp_percent", 0.01, "static_groups", 0, "meta", "quantizer",
                          "qcore:" QC_SAFETENSORS_VERSION);
    json_t *dynamic = q ? exceptions(model, f, all) : NULL, *inside = q ? quantized_in_block(model, f) : NULL;
    if (json_object_size(dynamic))
        json_object_set(q, "dynamic", dynamic);
    if (inside)
        json_object_set_new(q, "modules_in_block_to_quantize", inside);
    json_decref(dynamic);
    return q;
}

const ck_layout ck_gptq = {.id = "gptq",
                           .refuses = refuses,
                           .choose = choose,
                           .arrays = arrays,
                           .quantization = quantization,
                           .also = "quantize_config.json",
                           .store = store};
