#include "gguf.h"

/* Ids 4, 5, 31 to 33 and 36 to 38 were removed from ggml. */
static const gguf_type types[] = {
    {0, 1, 4, "f32"},         {1, 1, 2, "f16"},         {2, 32, 18, "q4_0"},      {3, 32, 20, "q4_1"},
    {6, 32, 22, "q5_0"},      {7, 32, 24, "q5_1"},      {8, 32, 34, "q8_0"},      {9, 32, 36, "q8_1"},
    {10, 256, 84, "q2_k"},    {11, 256, 110, "q3_k"},   {12, 256, 144, "q4_k"},   {13, 256, 176, "q5_k"},
    {14, 256, 210, "q6_k"},   {15, 256, 292, "q8_k"},   {16, 256, 66, "iq2_xxs"}, {17, 256, 74, "iq2_xs"},
    {18, 256, 98, "iq3_xxs"}, {19, 256, 50, "iq1_s"},   {20, 32, 18, "iq4_nl"},   {21, 256, 110, "iq3_s"},
    {22, 256, 82, "iq2_s"},   {23, 256, 136, "iq4_xs"}, {24, 1, 1, "i8"},         {25, 1, 2, "i16"},
    {26, 1, 4, "i32"},        {27, 1, 8, "i64"},        {28, 1, 8, "f64"},        {29, 256, 56, "iq1_m"},
    {30, 1, 2, "bf16"},       {34, 256, 54, "tq1_0"},   {35, 256, 66, "tq2_0"},   {39, 32, 17, "mxfp4"},
    {40, 64, 36, "nvfp4"},    {41, 128, 18, "q1_0"},    {42, 64, 18, "q2_0"},
};
enum { N_TYPES = sizeof types / sizeof *types };

const gguf_type *gguf_type_by_id(uint32_t id)
{
    for (size_t i = 0; i < N_TYPES; i++)
        if (types[i].id == id)
            return &types[i];
    return NULL;
}

const gguf_type *gguf_type_by_encoding(const char *encoding)
{
    for (size_t i = 0; i < N_TYPES; i++)
        if (!strcmp(types[i].encoding, encoding))
            return &types[i];
    return NULL;
}

size_t gguf_value_bytes(uint32_t type)
{
    static const uint8_t bytes[QC_N_TYPES] = {
        [QC_U8] = 1,  [QC_I8] = 1,   [QC_U16] = 2,  [QC_I16] = 2, [QC_U32] = 4, [QC_I32] = 4,
        [QC_F32] = 4, [QC_BOOL] = 1, [QC_TEXT] = 8, [QC_U64] = 8, [QC_I64] = 8, [QC_F64] = 8};
    return type < QC_N_TYPES ? bytes[type] : 0;
}

int gguf_own_key(const char *key)
{
    return !strcmp(key, "general.alignment") || !strncmp(key, "split.", 6);
}

int gguf_good_name(const char *name, size_t max)
{
    size_t n = 0;
    while ((unsigned char)name[n] >= 0x20 && name[n] != 0x7f)
        n++;
    return n > 0 && n <= max && name[n] == '\0';
}

int gguf_pad(uint64_t n, uint64_t alignment, uint64_t *padded)
{
    if (n > UINT64_MAX - (alignment - 1))
        return 0;
    *padded = (n + alignment - 1) & ~(alignment - 1);
    return 1;
}

void gguf_swap_if_big_endian(void *data, uint64_t count, size_t bytes)
{
    unsigned char *value = (unsigned char *)data;
    for (uint64_t i = 0; QC_BIG_ENDIAN && i < count; i++, value += bytes)
        for (size_t k = 0; k < bytes / 2; k++) {
            unsigned char byte = value[k];
            value[k] = value[bytes - 1 - k];
            value[bytes - 1 - k] = byte;
        }
}

static int probe(const char *file_name, const void *head, size_t n)
{
    (void)file_name;
    return n >= 4 && !memcmp(head, "GGUF", 4) ? 100 : 0;
}

static const qc_format_desc gguf = {
    .base = {.size = sizeof(qc_format_desc), .flags = QC_FORMAT_CANONICAL, .kind = QC_KIND_FORMAT, .id = "gguf"},
    .probe = probe,
    .scan = gguf_scan,
    .refuses = gguf_refuses,
    .layout = gguf_layout,
};
QC_PLUGIN(&gguf.base);
