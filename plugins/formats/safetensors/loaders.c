/* Who takes what is written: what programs said or did in late 2026 (vLLM 0.33, its CPU build 0.32, Transformers 5.23 with
 * compressed-tensors 0.20, optimum and GPTQModel 7.7, TensorRT-LLM's PyTorch path, llama.cpp's conversion of that year).
 * One line a reason; the first that holds decides, and where none does, a program takes it. */
#include "checkpoint.h"
#include "config.h"
#include <stdlib.h>

/* What the model has. */
enum {
    BITS_2 = 1 << 0,
    BITS_3 = 1 << 1,
    BITS_4 = 1 << 2,
    BITS_5_6_7 = 1 << 3,
    BITS_8 = 1 << 4,
    NOT_4_BITS = BITS_2 | BITS_3 | BITS_5_6_7 | BITS_8,
    ZEROS = 1 << 5, /* zero points */
    ZEROS_NOT_4 = 1 << 6, /* ... with other than 4 bits */
    ORDER = 1 << 7, /* columns in another order, in groups */
    ODD_GROUP = 1 << 8, /* not 32, 64, 128 or the whole row */
    CHANNEL = 1 << 9, /* the whole row */
    MIXED = 1 << 10, /* linears are quantized differently */
    UNEVEN = 1 << 11, /* ... those that programs fuse, too */
    HEAD = 1 << 12, /* the output head is quantized */
    ODD_ROWS = 1 << 13, /* not a multiple of 32 */
    ANY = 1 << 30
};

/* Layouts. */
enum { GPTQ = 1, AWQ = 2, PACKED = 4, INT8 = 8, CODES = GPTQ | AWQ | PACKED | INT8 };

static const char vllm_gpu[] = "vLLM on a GPU", vllm_cpu[] = "vLLM on a CPU", transformers[] = "Transformers",
                  tensorrt[] = "TensorRT-LLM", llama_cpp[] = "llama.cpp's converter";
static const char *const programs[] = {vllm_gpu, vllm_cpu, transformers, tensorrt, llama_cpp};
enum { N_PROGRAMS = sizeof programs / sizeof *programs };

static const struct reason {
    const char *program;
    int layouts, when; /* any of these */
    int takes;
    const char *why;
} reasons[] = {
    {vllm_gpu, CODES, UNEVEN, 0, "it fuses q, k, v and gate, up, which must be quantized alike"},
    {vllm_gpu, GPTQ, BITS_2 | BITS_3, 0, "its GPTQ has 4 and 8 bits"},
    {vllm_gpu, GPTQ, ZEROS, 0, "its GPTQ has no zero points"},
    {vllm_gpu, GPTQ, ORDER, 0, "it takes no column order in groups"},
    {vllm_gpu, GPTQ | AWQ, ODD_GROUP, 0, "its groups have 32, 64 or 128 columns, or all"},
    {vllm_gpu, PACKED, ZEROS_NOT_4, 1, "with zero points and other than 4 bits, not on every GPU"},
    {vllm_gpu, PACKED, BITS_2 | BITS_3 | BITS_5_6_7, 1, "by its Humming kernels alone"},

    {vllm_cpu, CODES, UNEVEN, 0, "it fuses q, k, v and gate, up, which must be quantized alike"},
    {vllm_cpu, GPTQ | PACKED, NOT_4_BITS, 0, "its kernels for a CPU have 4 bits"},
    {vllm_cpu, GPTQ, ZEROS, 0, "its GPTQ has no zero points"},
    {vllm_cpu, GPTQ, ORDER, 0, "it takes no column order in groups"},
    {vllm_cpu, GPTQ | AWQ | PACKED, ODD_ROWS, 0, "its kernels for a CPU need a multiple of 32 rows"},

    {transformers, GPTQ, MIXED, 0, "through optimum it takes one scheme for all linears"},
    {transformers, GPTQ | AWQ, HEAD, 0, "it takes the output head unquantized"},
    {transformers, GPTQ | AWQ, ANY, 1, "through GPTQModel"},
    {transformers, PACKED, ZEROS, 1, "with CompressedTensorsConfig(dequantize=True)"},

    {tensorrt, GPTQ, ANY, 0, "it reads no GPTQ layout"},
    {tensorrt, AWQ, ANY, 0, "it reads no AWQ layout"},
    {tensorrt, PACKED, ANY, 0, "it reads no packed whole numbers"},
    {tensorrt, INT8, ANY, 0, "it would take int8 for FP8"},

    {llama_cpp, AWQ, ANY, 0, "it reads no AWQ layout; qcore makes a GGUF file of it"},
    {llama_cpp, GPTQ, BITS_3, 0, "it does not unpack 3 bits"},
    {llama_cpp, PACKED, BITS_3 | BITS_5_6_7, 0, "it unpacks 3, 5, 6 and 7 bits as they were before 2026"},
    {llama_cpp, PACKED, CHANNEL, 0, "it unpacks groups, not whole rows"},
    {llama_cpp, CODES, MIXED, 0, "it takes one scheme for all linears"},
    {llama_cpp, CODES, ANY, 1, "as floats again"},
};

/* ---- linears that are fused ---- */

typedef struct part {
    const char *name;
    size_t prefix; /* characters before the last dot */
    const char *fused;
    ck_scheme scheme; /* bits 0: left alone */
} part;

static int by_fused(const void *a, const void *b)
{
    const part *x = a, *y = b;
    size_t n = x->prefix < y->prefix ? x->prefix : y->prefix;
    int order = memcmp(x->name, y->name, n);
    if (order == 0 && x->prefix != y->prefix)
        order = x->prefix < y->prefix ? -1 : 1;
    return order ? order : strcmp(x->fused, y->fused);
}

static size_t list_parts(const qc_model *model, part *parts)
{
    size_t n = 0;
    for (size_t i = 0; i < model->n_tensors; i++) {
        const qc_tensor *t = model->tensors[i];
        part p = {.name = t->name};
        p.fused = ck_fused_name(t->name, &p.prefix);
        if (!p.fused || t->n_dims != 2)
            continue;
        ck_scheme_of(t, &p.scheme);
        parts[n++] = p;
    }
    return n;
}

static int is_uneven(qc_job *job, const qc_model *model)
{
    part *parts = job->scratch(job, (model->n_tensors + 1) * sizeof *parts);
    size_t n = parts ? list_parts(model, parts) : 0;
    if (n)
        qsort(parts, n, sizeof *parts, by_fused);
    for (size_t i = 1; i < n; i++)
        if (by_fused(&parts[i - 1], &parts[i]) == 0 && !ck_same_scheme(&parts[i - 1].scheme, &parts[i].scheme))
            return 1;
    return 0;
}

/* ---- the answer ---- */

static int has(const ck_linear *l)
{
    static const int of_bits[] = {0, 0, BITS_2, BITS_3, BITS_4, BITS_5_6_7, BITS_5_6_7, BITS_5_6_7, BITS_8};
    const ck_scheme *s = &l->scheme;
    int is_usual = s->group == 0 || s->group == 32 || s->group == 64 || s->group == 128;
    return of_bits[s->bits] | (s->symmetric ? 0 : ZEROS) | (s->symmetric || s->bits == 4 ? 0 : ZEROS_NOT_4) |
           (l->has_order && l->groups > 1 ? ORDER : 0) | (is_usual ? 0 : ODD_GROUP) | (s->group ? 0 : CHANNEL) |
           (ck_is_head(l->name) ? HEAD : 0) | (l->rows % 32 ? ODD_ROWS : 0);
}

static int all_of(qc_job *job, const qc_model *model, const ck_folder *f)
{
    int flags = ANY | (is_uneven(job, model) ? UNEVEN : 0);
    for (size_t i = 0; i < f->n; i++)
        flags |= has(&f->linears[i]) | (ck_same_scheme(&f->linears[i].scheme, &f->linears[0].scheme) ? 0 : MIXED);
    return flags;
}

static int layout_of(const ck_folder *f)
{
    if (f->layout == &ck_compressed_tensors)
        return f->variant ? INT8 : PACKED;
    return f->layout == &ck_gptq ? GPTQ : AWQ;
}

static qc_status tell(qc_job *job, const qc_loaders *out, const char *program, int layout, int flags)
{
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (reasons[i].program == program && (reasons[i].layouts & layout) && (reasons[i].when & flags))
            return out->loader(out, job, program, reasons[i].takes, reasons[i].why);
    return out->loader(out, job, program, 1, NULL);
}

qc_status ck_loaders(const ck_layout *layout, qc_job *job, const qc_model *model, const qc_settings *settings,
                     const qc_loaders *out)
{
    ck_folder *f;
    qc_status status = ck_plan(layout, job, model, settings, &f);
    if (status != QC_OK)
        return status;
    int form = layout_of(f), flags = all_of(job, model, f);
    for (size_t i = 0; i < N_PROGRAMS && status == QC_OK; i++)
        status = tell(job, out, programs[i], form, flags);
    return status;
}

qc_status st_loaders(qc_job *job, const qc_model *model, const qc_settings *settings, const qc_loaders *out)
{
    qc_status status = QC_OK;
    (void)settings;
    int whole = st_folder(model) != NULL;
    for (size_t i = 0; i < N_PROGRAMS && status == QC_OK; i++)
        status = out->loader(out, job, programs[i], whole,
                             whole ? NULL : "it needs the family's " ST_CONFIG " and tokenizer beside the weights");
    return status;
}
