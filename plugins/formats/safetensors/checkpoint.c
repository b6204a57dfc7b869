/* What all layouts share: which tensors they keep as codes, where the arrays are, and rows back to codes. */
#include "checkpoint.h"
#include "config.h"
#include "qcore/number.h"
#include <stdlib.h>

#define WEIGHT ".weight"

enum { LONGEST_NAME = 256 }; /* what quantization_config says of a module has room for twice as many characters */

/* ---- names and schemes ---- */

size_t ck_module_length(const char *name)
{
    size_t n = strlen(name), k = sizeof WEIGHT - 1;
    return n > k && !strcmp(name + n - k, WEIGHT) ? n - k : 0;
}

int ck_is_head(const char *name)
{
    return !strcmp(name, "lm_head.weight") || !strcmp(name, "lm_head") || !strcmp(name, "output.weight");
}

const char *ck_fused_name(const char *name, size_t *last)
{
    static const char *const names[][2] = {{"q_proj", "qkv_proj"},
                                           {"k_proj", "qkv_proj"},
                                           {"v_proj", "qkv_proj"},
                                           {"gate_proj", "gate_up_proj"},
                                           {"up_proj", "gate_up_proj"}};
    size_t n = ck_module_length(name);
    for (*last = n; *last > 0 && name[*last - 1] != '.';)
        --*last;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strlen(names[i][0]) == n - *last && !strncmp(names[i][0], name + *last, n - *last))
            return names[i][1];
    return NULL;
}

static int is_embedding(const char *name)
{
    size_t n = ck_module_length(name), last = n;
    while (last > 0 && name[last - 1] != '.')
        last--;
    const char *word = name + last;
    for (size_t i = last; i + 4 <= n; i++)
        if (!strncmp(name + i, "embe", 4) || !strncmp(name + i, "embd", 4)) /* a family's own name, or qcore's */
            return 1;
    return n - last == 3 && (!strncmp(word, "wte", 3) || !strncmp(word, "wpe", 3));
}

int ck_scheme_of(const qc_tensor *t, ck_scheme *s)
{
    const qc_encoding_desc *d = QC_HAS(t, qc_tensor, desc) ? t->desc : NULL;
    if (!d || !(d->base.flags & QC_ENCODING_INTEGER))
        return 0;
    *s = (ck_scheme){.group = d->sub_cols ? d->sub_cols : d->block_cols, .symmetric = d->lowest < 0};
    while ((int64_t)1 << s->bits < (int64_t)d->highest - d->lowest + 1)
        s->bits++;
    return 1;
}

int ck_same_scheme(const ck_scheme *a, const ck_scheme *b)
{
    return a->bits == b->bits && a->group == b->group && a->symmetric == b->symmetric;
}

const char *ck_refuses(const ck_layout *layout, const qc_tensor *t)
{
    ck_scheme s;
    const qc_encoding_desc *d = QC_HAS(t, qc_tensor, desc) ? t->desc : NULL;
    if (ck_scheme_of(t, &s)) {
        if (t->n_dims < 2)
            return "only matrices are kept as codes";
        if (s.bits > 8)
            return "it has more than 8 bits a code";
        if (is_embedding(t->name))
            return "programs look embeddings up as plain numbers: keep it as it is";
        return layout->refuses(t, &s);
    }
    if (d && d->block_cols != 1)
        return "codes there are whole numbers with one scale and one zero point a group, as those of int2 ... int8, "
               "q4_0 and q8_0";
    return st_refuses(t);
}

/* ---- the folder ---- */

static qc_status no_memory(qc_job *job)
{
    return qc_fail(job, QC_E_NOMEM, "out of memory for the checkpoint's table");
}

static qc_status take_linear(qc_job *job, const qc_tensor *t, size_t tensor, const ck_scheme *s, ck_linear *l)
{
    if (!ck_module_length(t->name))
        return qc_fail(job, QC_E_UNSUPPORTED,
                       "tensor '%.80s' (%s) cannot be written: only linears, called NAME.weight, are kept as codes",
                       t->name, t->encoding);
    if (t->n_dims != 2)
        return qc_fail(job, QC_E_UNSUPPORTED,
                       "tensor '%.80s' (%s) cannot be written: several matrices in one have no place in checkpoints: "
                       "keep it as it is",
                       t->name, t->encoding);
    *l = (ck_linear){.name = t->name, .scheme = *s, .rows = t->dims[1], .cols = t->dims[0], .tensor = tensor};
    l->groups = s->group ? t->dims[0] / s->group : 1;
    l->has_order = t->order != NULL;
    return QC_OK;
}

static qc_status take_linears(const ck_layout *layout, qc_job *job, const qc_model *model, ck_folder *f)
{
    qc_status status = QC_OK;
    for (size_t i = 0; i < model->n_tensors && status == QC_OK; i++) {
        const qc_tensor *t = model->tensors[i];
        const char *why = ck_refuses(layout, t);
        ck_scheme s;
        if (why)
            return qc_fail(job, QC_E_UNSUPPORTED, "tensor '%.80s' (%s) cannot be written: %s", t->name, t->encoding,
                           why);
        if (strlen(t->name) > LONGEST_NAME)
            return qc_fail(job, QC_E_LIMIT, "tensor '%.80s' ...: names of at most %d characters can be written",
                           t->name, LONGEST_NAME);
        if (ck_scheme_of(t, &s))
            status = take_linear(job, t, i, &s, &f->linears[f->n++]);
    }
    if (status == QC_OK && f->n == 0)
        return qc_fail(job, QC_E_INVALID,
                       "no linear is in an encoding that %s keeps as codes (int4_g128 is one): choose another, or "
                       "output.format safetensors",
                       layout->id);
    return status;
}

qc_status ck_plan(const ck_layout *layout, qc_job *job, const qc_model *model, const qc_settings *settings,
                  ck_folder **out)
{
    ck_folder *f = job->scratch(job, sizeof *f);
    ck_linear *linears = job->scratch(job, (model->n_tensors + 1) * sizeof *linears);
    *out = f;
    if (!f || !linears)
        return no_memory(job);
    *f = (ck_folder){.layout = layout, .linears = linears};
    if (!st_folder(model))
        return qc_fail(job, QC_E_INVALID,
                       "%s needs a Hugging Face folder as its input: its " ST_CONFIG
                       " and tokenizer are part of the checkpoint",
                       layout->id);
    qc_status status = take_linears(layout, job, model, f);
    return status == QC_OK ? layout->choose(job, model, settings, f) : status;
}

int ck_is_left_alone(const qc_tensor *t)
{
    ck_scheme s;
    return t->n_dims >= 2 && ck_module_length(t->name) && !is_embedding(t->name) && !ck_scheme_of(t, &s);
}

int ck_quantizes_head(const ck_folder *f)
{
    for (size_t i = 0; i < f->n; i++)
        if (ck_is_head(f->linears[i].name))
            return 1;
    return 0;
}

json_t *ck_left_alone(const qc_model *model)
{
    json_t *names = json_array();
    for (size_t i = 0; names && i < model->n_tensors; i++)
        if (ck_is_left_alone(model->tensors[i])) {
            const char *name = model->tensors[i]->name;
            json_array_append_new(names, json_stringn(name, ck_module_length(name)));
        }
    return names;
}

/* ---- arrays ---- */

static const char *array_name(qc_job *job, const char *tensor, const char *suffix)
{
    size_t n = ck_module_length(tensor), k = strlen(suffix);
    char *name = job->scratch(job, n + k + 2);
    if (!name)
        return NULL;
    memcpy(name, tensor, n);
    name[n] = '.';
    memcpy(name + n + 1, suffix, k + 1);
    return name;
}

/* The arrays of a linear, behind those before. */
static qc_status add_linear(qc_job *job, const ck_folder *f, const ck_linear *l, st_array *arrays, size_t *n)
{
    ck_array parts[CK_N_PARTS];
    qc_status status = QC_OK;
    size_t n_parts = f->layout->arrays(f, l, parts);
    for (size_t i = 0; i < n_parts && status == QC_OK; i++) {
        st_array *a = &arrays[(*n)++];
        *a = (st_array){.name = array_name(job, l->name, parts[i].suffix),
                        .dtype = st_dtype_by_name(parts[i].dtype),
                        .n_dims = parts[i].n_dims,
                        .tensor = l->tensor,
                        .part = parts[i].part};
        memcpy(a->dims, parts[i].dims, sizeof parts[i].dims);
        status = a->name ? st_size_array(job, a) : no_memory(job);
    }
    return status;
}

static qc_status list_arrays(qc_job *job, const qc_model *model, const ck_folder *f, st_array *arrays, size_t *n)
{
    const ck_linear *next = f->linears, *end = f->linears + f->n;
    qc_status status = QC_OK;
    for (size_t i = 0; i < model->n_tensors && status == QC_OK; i++) {
        if (next < end && next->tensor == i)
            status = add_linear(job, f, next++, arrays, n);
        else
            status = st_plain_array(job, model->tensors[i], i, &arrays[(*n)++]);
    }
    return status;
}

/* Every tensor's place is that of its first array; of linears, layout alone knows the others. */
static qc_status place_arrays(qc_job *job, const qc_layout *out, const ck_folder *f, const st_array *arrays, size_t n)
{
    ck_linear *next = f->linears, *end = f->linears + f->n;
    qc_status status = QC_OK;
    for (size_t i = 0; i < n && status == QC_OK; i++) {
        const st_array *a = &arrays[i];
        while (next < end && next->tensor < a->tensor)
            next++;
        if (i == 0 || a->tensor != arrays[i - 1].tensor)
            status = out->place(out, job, a->tensor, a->file, a->at);
        if (next < end && next->tensor == a->tensor) {
            next->part[a->part].file = a->file;
            next->part[a->part].at = a->at;
        }
    }
    return status;
}

/* "weight_shape", known already. */
static qc_status write_shapes(qc_job *job, const qc_layout *out, const ck_folder *f, const st_array *arrays, size_t n)
{
    const ck_linear *next = f->linears, *end = f->linears + f->n;
    qc_status status = QC_OK;
    for (size_t i = 0; i < n && status == QC_OK; i++) {
        unsigned char shape[16];
        while (next < end && next->tensor < arrays[i].tensor)
            next++;
        if (next == end || next->tensor != arrays[i].tensor || arrays[i].part != CK_SHAPE)
            continue;
        qc_store_le64(shape, next->rows);
        qc_store_le64(shape + 8, next->cols);
        status = out->bytes(out, job, arrays[i].file, arrays[i].at, shape, sizeof shape);
    }
    return status;
}

static qc_status lay_out_arrays(qc_job *job, const qc_model *model, const qc_settings *settings, const ck_folder *f,
                                const qc_layout *out)
{
    size_t n = 0;
    st_array *arrays = job->scratch(job, (model->n_tensors + f->n * CK_N_PARTS + 1) * sizeof *arrays);
    if (!arrays)
        return no_memory(job);
    qc_status status = list_arrays(job, model, f, arrays, &n);
    if (status == QC_OK)
        status = st_lay_out(job, model, arrays, n, job->host->number(settings, "shard_bytes"), out);
    if (status == QC_OK)
        status = place_arrays(job, out, f, arrays, n);
    return status == QC_OK ? write_shapes(job, out, f, arrays, n) : status;
}

static qc_status lay_out_quantization(qc_job *job, const qc_model *model, const ck_folder *f, const qc_layout *out)
{
    json_t *quantization = f->layout->quantization(model, f);
    if (!quantization)
        return no_memory(job);
    qc_status status = st_lay_out_config(job, model, quantization, out);
    if (status == QC_OK && f->layout->also)
        status = st_lay_out_json(job, out, f->layout->also, json_incref(quantization));
    json_decref(quantization);
    return status;
}

/* ---- what stays for store ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const ck_linear *const *)a)->name, (*(const ck_linear *const *)b)->name);
}

/* A copy in one block: the linears sorted by name, and their names. */
static ck_folder *kept(qc_job *job, const ck_folder *f)
{
    size_t names = 0;
    const ck_linear **order = job->scratch(job, (f->n + 1) * sizeof *order);
    for (size_t i = 0; i < f->n; i++)
        names += strlen(f->linears[i].name) + 1;
    ck_folder *k = order ? job->host->alloc(job->host, sizeof *k + f->n * sizeof *k->linears + names) : NULL;
    if (!k)
        return NULL;
    for (size_t i = 0; i < f->n; i++)
        order[i] = &f->linears[i];
    qsort(order, f->n, sizeof *order, by_name);
    *k = *f;
    k->linears = (ck_linear *)(void *)(k + 1);
    char *name = (char *)(k->linears + f->n);
    for (size_t i = 0; i < f->n; i++) {
        k->linears[i] = *order[i];
        k->linears[i].name = name;
        size_t length = strlen(order[i]->name) + 1;
        memcpy(name, order[i]->name, length);
        name += length;
    }
    return k;
}

qc_status ck_write(const ck_layout *layout, qc_job *job, const qc_model *model, const qc_settings *settings,
                   const qc_layout *out, void **index)
{
    ck_folder *f;
    *index = NULL;
    qc_status status = ck_plan(layout, job, model, settings, &f);
    if (status == QC_OK)
        status = lay_out_arrays(job, model, settings, f, out);
    if (status == QC_OK)
        status = lay_out_quantization(job, model, f, out);
    if (status != QC_OK)
        return status;
    *index = kept(job, f);
    return *index ? QC_OK : no_memory(job);
}

void ck_release(const qc_host *host, void *index)
{
    host->free(host, index);
}
