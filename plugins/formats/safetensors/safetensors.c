#include "safetensors.h"

/* The core decodes what encodings it has; the other types can be carried over. */
static const st_dtype dtypes[] = {
    {"F64", "f64", 8},         {"F32", "f32", 4},         {"F16", "f16", 2},         {"BF16", "bf16", 2},
    {"F8_E4M3", "f8_e4m3", 1}, {"F8_E5M2", "f8_e5m2", 1}, {"F8_E8M0", "f8_e8m0", 1}, {"I64", "i64", 8},
    {"I32", "i32", 4},         {"I16", "i16", 2},         {"I8", "i8", 1},           {"U64", "u64", 8},
    {"U32", "u32", 4},         {"U16", "u16", 2},         {"U8", "u8", 1},           {"BOOL", "bool", 1},
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
    .probe = probe,
    .scan = st_scan,
    .refuses = st_refuses,
    .layout = st_layout,
};
QC_PLUGIN(&safetensors.base);
