#include "checkpoint.h"
#include "read_packed.h"

/* The core decodes what encodings it has; the other types can be carried over. In the order in which the reference
 * implementation writes tensors, so that each is aligned. */
static const st_dtype dtypes[] = {
    {"U64", "u64", 8},         {"I64", "i64", 8}, {"F64", "f64", 8},         {"F32", "f32", 4},
    {"U32", "u32", 4},         {"I32", "i32", 4}, {"BF16", "bf16", 2},       {"F16", "f16", 2},
    {"U16", "u16", 2},         {"I16", "i16", 2}, {"F8_E8M0", "f8_e8m0", 1}, {"F8_E4M3", "f8_e4m3", 1},
    {"F8_E5M2", "f8_e5m2", 1}, {"I8", "i8", 1},   {"U8", "u8", 1},           {"BOOL", "bool", 1},
};
enum { N_DTYPES = sizeof dtypes / sizeof *dtypes };

const st_dtype *st_dtype_by_name(const char *name)
{
    for (size_t i = 0; i < N_DTYPES; i++)
        if (!strcmp(dtypes[i].name, name))
            return &dtypes[i];
    return NULL;
}

const st_dtype *st_dtype_by_encoding(const char *encoding)
{
    for (size_t i = 0; i < N_DTYPES; i++)
        if (!strcmp(dtypes[i].encoding, encoding))
            return &dtypes[i];
    return NULL;
}

int st_clean_name(const char *name)
{
    size_t n = 0;
    while ((unsigned char)name[n] >= 0x20 && name[n] != 0x7f)
        n++;
    return n > 0 && name[n] == '\0';
}

int st_ends_with(const char *name, const char *suffix)
{
    size_t n = strlen(name), k = strlen(suffix);
    return n >= k && !strcmp(name + n - k, suffix);
}

/* An index is known by its name; a file by its name and by a header that begins as JSON does. */
static int probe(const char *file_name, const void *head, size_t n)
{
    const unsigned char *bytes = head;
    if (st_ends_with(file_name, ST_INDEX_SUFFIX))
        return 90;
    int looks = n > 8 && bytes[4] == 0 && bytes[5] == 0 && bytes[6] == 0 && bytes[7] == 0 && bytes[8] == '{';
    return looks ? (st_ends_with(file_name, ".safetensors") ? 95 : 60) : 0;
}

static const qc_format_desc safetensors = {
    .base = {.size = sizeof(qc_format_desc), .flags = QC_FORMAT_FOLDER, .kind = QC_KIND_FORMAT, .id = "safetensors"},
    .row_multiple = 64, /* of packed linears whose rows are columns of arrays */
    .probe = probe,
    .scan = st_scan,
    .refuses = st_refuses,
    .layout = st_layout,
    .load = pk_load,
    .release = pk_release,
    .loaders = st_loaders,
};

/* A checkpoint layout is written by a format of its own; all are read as safetensors. */
#define CHECKPOINT(name, format_id, more_flags, rows)                                                                \
    static const char *name##_refuses(const qc_tensor *t)                                                            \
    {                                                                                                                \
        return ck_refuses(&ck_##name, t);                                                                            \
    }                                                                                                                \
    static qc_status name##_layout(qc_job *job, const qc_model *model, const qc_settings *s, const qc_layout *out,   \
                                   void **index)                                                                     \
    {                                                                                                                \
        return ck_write(&ck_##name, job, model, s, out, index);                                                      \
    }                                                                                                                \
    static qc_status name##_loaders(qc_job *job, const qc_model *model, const qc_settings *s, const qc_loaders *out) \
    {                                                                                                                \
        return ck_loaders(&ck_##name, job, model, s, out);                                                           \
    }                                                                                                                \
    static const qc_format_desc name = {                                                                             \
        .base = {.size = sizeof(qc_format_desc),                                                                     \
                 .flags = QC_FORMAT_FOLDER | (more_flags),                                                           \
                 .kind = QC_KIND_FORMAT,                                                                             \
                 .id = (format_id)},                                                                                 \
        .row_multiple = (rows), /* runs of them in arrays that lie the other way round */                            \
        .refuses = name##_refuses,                                                                                   \
        .layout = name##_layout,                                                                                     \
        .store = ck_store,                                                                                           \
        .release = ck_release,                                                                                       \
        .loaders = name##_loaders,                                                                                   \
    }
CHECKPOINT(gptq, "gptq", QC_FORMAT_ORDER, 64);
CHECKPOINT(awq, "awq", 0, 128);
CHECKPOINT(compressed_tensors, "compressed-tensors", 0, 32);

QC_PLUGIN(&safetensors.base, &gptq.base, &awq.base, &compressed_tensors.base);
