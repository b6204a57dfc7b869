/* Codes, scales, zeros and groups of some rows of a linear, from whichever way its arrays are turned. */
#include "qcore/number.h"
#include "read_packed.h"

enum { BULK_BYTES = 1 << 16, PIECE = 32 };

void pk_free_rooms(pk_reader *r)
{
    pk_room *const rooms[] = {&r->words, &r->codes, &r->scales, &r->zeros, &r->groups};
    for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++) {
        r->job->host->free(r->job->host, rooms[i]->data);
        *rooms[i] = (pk_room){NULL, 0};
    }
}

qc_status pk_bad(const pk_reader *r, const qc_tensor *array, const char *what)
{
    return qc_fail(r->job, QC_E_CORRUPT, "%.100s: tensor '%.150s': %s", r->src->name(r->src, array->file), array->name,
                   what);
}

/* n * m values of `size` bytes. */
static qc_status reserve(pk_reader *r, pk_room *room, uint64_t n, uint64_t m, uint64_t size)
{
    const qc_host *host = r->job->host;
    uint64_t bytes;
    if (!qc_mul_size(n, m, &bytes) || !qc_mul_size(bytes, size, &bytes) || bytes > SIZE_MAX / 2)
        return pk_bad(r, r->linear->codes, "its dimensions are absurd");
    if (room->data && room->bytes >= bytes)
        return QC_OK;
    host->free(host, room->data);
    room->bytes = bytes;
    room->data = host->alloc(host, bytes ? (size_t)bytes : 1);
    return room->data ? QC_OK : qc_fail(r->job, QC_E_NOMEM, "out of memory for %llu bytes", (unsigned long long)bytes);
}

/* ---- bytes ---- */

/* A rectangle of an array: `count` of its rows from `first` on, of each `n` bytes from byte `at` on. */
typedef struct rectangle {
    const qc_tensor *array;
    uint64_t first, count, at;
    size_t n;
} rectangle;

static qc_status read_one_by_one(const pk_reader *r, const rectangle *q, unsigned char *dst)
{
    const qc_tensor *t = q->array;
    qc_status status = QC_OK;
    for (uint64_t i = 0; i < q->count && status == QC_OK; i++)
        status = r->src->read_at(r->src, r->job, t->file, t->at + (q->first + i) * t->row_bytes + q->at, q->n,
                                 dst + i * q->n);
    return status;
}

/* Many short rows at once, and what is between thrown away: faster than asking for each. */
static qc_status read_in_bulk(const pk_reader *r, const rectangle *q, unsigned char *dst)
{
    const qc_tensor *t = q->array;
    uint64_t at_once = BULK_BYTES / t->row_bytes;
    unsigned char *bulk = r->job->host->alloc(r->job->host, BULK_BYTES);
    qc_status status = QC_OK;
    if (!bulk)
        return qc_fail(r->job, QC_E_NOMEM, "out of memory for %d bytes", BULK_BYTES);
    for (uint64_t i = 0, n; i < q->count && status == QC_OK; i += n) {
        n = q->count - i < at_once ? q->count - i : at_once;
        status = r->src->read_at(r->src, r->job, t->file, t->at + (q->first + i) * t->row_bytes,
                                 (size_t)(n * t->row_bytes), bulk);
        for (uint64_t k = 0; k < n && status == QC_OK; k++)
            memcpy(dst + (i + k) * q->n, bulk + k * t->row_bytes + q->at, q->n);
    }
    r->job->host->free(r->job->host, bulk);
    return status;
}

/* dst: [count][n]. Shapes were held against each other, and arrays against their files. */
static qc_status read_rectangle(const pk_reader *r, const rectangle *q, void *dst)
{
    const qc_tensor *t = q->array;
    if (q->count == 0 || q->n == 0)
        return QC_OK;
    if (q->n == t->row_bytes)
        return r->src->read_at(r->src, r->job, t->file, t->at + q->first * t->row_bytes, q->n * (size_t)q->count, dst);
    if (q->n >= t->row_bytes / 8 && t->row_bytes <= BULK_BYTES / 2 && q->count > 1)
        return read_in_bulk(r, q, dst);
    return read_one_by_one(r, q, dst);
}

/* ---- fields of words ---- */

/* Strings of words, side by side: word w of string s is words[w * along + s * across]. */
typedef struct strings {
    const unsigned char *words;
    size_t along, across;
    uint32_t bits, per_word; /* per_word: see pk_linear */
    int shuffled; /* AWQ's order in a word */
    uint64_t first_word; /* of the strings, which word 0 here is */
} strings;

static uint64_t word_of_field(const strings *s, uint64_t field)
{
    return s->per_word ? field / s->per_word : field * s->bits / 32;
}

/* The bit of its word that the field begins at. */
static uint32_t shift_of_field(const strings *s, uint64_t field)
{
    static const uint8_t awq[8] = {0, 16, 4, 20, 8, 24, 12, 28};
    if (s->shuffled)
        return awq[field % 8];
    return s->per_word ? (uint32_t)(field % s->per_word) * s->bits : (uint32_t)(field * s->bits % 32);
}

/* Where fields go: field f of string s to dst[(f - first) * along + s * across]. */
typedef struct turn {
    size_t along, across;
} turn;

static void get_field(const strings *s, uint64_t field, size_t begin, size_t end, uint8_t *dst, size_t across)
{
    const unsigned char *word = s->words + 4 * (size_t)(word_of_field(s, field) - s->first_word) * s->along;
    uint32_t shift = shift_of_field(s, field), mask = (1u << s->bits) - 1;
    int straddles = shift + s->bits > 32;
    for (size_t k = begin; k < end; k++) {
        uint32_t value = qc_load_le32(word + 4 * k * s->across) >> shift;
        if (straddles)
            value |= qc_load_le32(word + 4 * (s->along + k * s->across)) << (32 - shift);
        dst[k * across] = (uint8_t)(value & mask);
    }
}

/* Fields [first, first + n_fields) of all strings, in squares that stay in the cache whichever way they are turned. */
static void get_fields(const strings *s, uint64_t first, size_t n_fields, size_t n_strings, uint8_t *dst, turn to)
{
    for (size_t begin = 0; begin < n_strings; begin += PIECE) {
        size_t end = n_strings - begin < PIECE ? n_strings : begin + PIECE;
        for (size_t f = 0; f < n_fields; f++)
            get_field(s, first + f, begin, end, dst + f * to.along, to.across);
    }
}

/* Words [begin, end) that hold fields [first, first + n). */
static void words_that_hold(const strings *s, uint64_t first, size_t n, uint64_t *begin, uint64_t *end)
{
    uint64_t last = first + n - 1;
    *begin = word_of_field(s, first);
    *end = word_of_field(s, last) + 1;
    if (!s->per_word && shift_of_field(s, last) + s->bits > 32)
        ++*end;
}

/* Fields [first, first + n_fields) of strings that run along an array's rows, from row `row` on. */
static qc_status read_along(pk_reader *r, const qc_tensor *array, strings s, uint64_t row, size_t n_strings,
                            uint64_t first, size_t n_fields, uint8_t *dst, turn to)
{
    uint64_t begin, end;
    words_that_hold(&s, first, n_fields, &begin, &end);
    const rectangle q = {array, row, n_strings, 4 * begin, (size_t)(4 * (end - begin))};
    qc_status status = reserve(r, &r->words, n_strings, end - begin, 4);
    if (status == QC_OK)
        status = read_rectangle(r, &q, r->words.data);
    if (status != QC_OK)
        return status;
    s.words = r->words.data;
    s.along = 1;
    s.across = (size_t)(end - begin);
    s.first_word = begin;
    get_fields(&s, first, n_fields, n_strings, dst, to);
    return QC_OK;
}

/* The same of strings that run down its columns, from column `col` on. */
static qc_status read_down(pk_reader *r, const qc_tensor *array, strings s, uint64_t col, size_t n_strings,
                           uint64_t first, size_t n_fields, uint8_t *dst, turn to)
{
    uint64_t begin, end;
    words_that_hold(&s, first, n_fields, &begin, &end);
    const rectangle q = {array, begin, end - begin, 4 * col, 4 * n_strings};
    qc_status status = reserve(r, &r->words, end - begin, n_strings, 4);
    if (status == QC_OK)
        status = read_rectangle(r, &q, r->words.data);
    if (status != QC_OK)
        return status;
    s.words = r->words.data;
    s.along = n_strings;
    s.across = 1;
    s.first_word = begin;
    get_fields(&s, first, n_fields, n_strings, dst, to);
    return QC_OK;
}

/* ---- codes ---- */

/* Signed bytes as unsigned ones; FP8 as they are. */
static qc_status read_bytes(pk_reader *r, uint64_t row, size_t n)
{
    const pk_linear *l = r->linear;
    const rectangle q = {l->codes, row, n, 0, (size_t)l->cols};
    unsigned char *code = r->codes.data, flip = l->layout == PK_BYTES ? 0x80 : 0;
    qc_status status = read_rectangle(r, &q, code);
    for (size_t i = 0; flip && status == QC_OK && i < n * l->cols; i++)
        code[i] ^= flip;
    return status;
}

qc_status pk_read_codes(pk_reader *r, uint64_t row, size_t n)
{
    const pk_linear *l = r->linear;
    const size_t cols = (size_t)l->cols;
    const turn by_input = {1, cols}, by_output = {cols, 1};
    strings s = {.bits = l->bits, .per_word = l->per_word};
    qc_status status = reserve(r, &r->codes, n, l->cols, 1);
    if (status != QC_OK)
        return status;
    switch (l->layout) {
    case PK_DOWN:
        return read_down(r, l->codes, s, row, n, 0, cols, r->codes.data, by_input);
    case PK_ACROSS:
        s.per_word = 8;
        s.shuffled = 1;
        return read_along(r, l->codes, s, 0, cols, row, n, r->codes.data, by_output);
    case PK_ALONG:
        return read_along(r, l->codes, s, row, n, 0, cols, r->codes.data, by_input);
    default:
        return read_bytes(r, row, n);
    }
}

/* ---- scales ---- */

static float number_at(const qc_tensor *t, const unsigned char *p)
{
    if (!strcmp(t->encoding, "f32"))
        return qc_float_from_bits(qc_load_le32(p));
    return !strcmp(t->encoding, "f16") ? qc_f32_from_f16(qc_load_le16(p)) : qc_f32_from_bf16(qc_load_le16(p));
}

/* [n_groups][outputs], as GPTQ and AWQ have them. */
static qc_status read_turned_scales(pk_reader *r, uint64_t row, size_t n)
{
    const pk_linear *l = r->linear;
    const qc_tensor *t = l->scales;
    const size_t bytes = (size_t)(t->row_bytes / t->dims[0]), groups = (size_t)l->n_groups;
    const rectangle q = {t, 0, l->n_groups, row * bytes, n * bytes};
    qc_status status = reserve(r, &r->words, l->n_groups, n, bytes);
    if (status == QC_OK)
        status = read_rectangle(r, &q, r->words.data);
    float *scale = r->scales.data;
    const unsigned char *from = r->words.data;
    for (size_t g = 0; g < groups && status == QC_OK; g++)
        for (size_t i = 0; i < n; i++)
            scale[i * groups + g] = number_at(t, from + (g * n + i) * bytes);
    return status;
}

/* The row of scales (or zeros beside them) that an output's are in. */
static uint64_t scale_row(const pk_linear *l, uint64_t row)
{
    return l->block_rows ? row / l->block_rows : 0;
}

/* Rows of [outputs, n_groups] for outputs [row, row + n), in r->words; *first is the row of the array that it begins
 * with. A vector has one number for every output. */
static qc_status read_beside(pk_reader *r, const qc_tensor *t, uint64_t row, size_t n, uint64_t *first)
{
    const pk_linear *l = r->linear;
    const size_t bytes = (size_t)(t->row_bytes / t->dims[0]);
    *first = scale_row(l, row);
    uint64_t count = scale_row(l, row + n - 1) + 1 - *first;
    qc_status status = reserve(r, &r->words, count, l->n_groups, bytes);
    if (status != QC_OK)
        return status;
    return r->src->read_at(r->src, r->job, t->file, t->at + *first * l->n_groups * bytes,
                           (size_t)(count * l->n_groups) * bytes, r->words.data);
}

static qc_status read_scales_beside(pk_reader *r, uint64_t row, size_t n)
{
    const pk_linear *l = r->linear;
    const qc_tensor *t = l->scales;
    const size_t bytes = (size_t)(t->row_bytes / t->dims[0]), groups = (size_t)l->n_groups;
    uint64_t first;
    qc_status status = read_beside(r, t, row, n, &first);
    float *scale = r->scales.data;
    const unsigned char *from = r->words.data;
    for (size_t i = 0; i < n && status == QC_OK; i++)
        for (size_t g = 0; g < groups; g++)
            scale[i * groups + g] = number_at(t, from + ((size_t)(scale_row(l, row + i) - first) * groups + g) * bytes);
    return status;
}

qc_status pk_read_scales(pk_reader *r, uint64_t row, size_t n)
{
    const pk_linear *l = r->linear;
    qc_status status = reserve(r, &r->scales, n, l->n_groups, sizeof(float));
    if (status != QC_OK)
        return status;
    return l->layout == PK_DOWN || l->layout == PK_ACROSS ? read_turned_scales(r, row, n)
                                                          : read_scales_beside(r, row, n);
}

/* ---- zeros ---- */

/* A word less 1 in each of its fields, back. The carry out of the word is lost, as it was on the way. */
static void add_ones(const pk_reader *r, unsigned char *words, size_t n)
{
    uint32_t ones = 0;
    for (uint32_t shift = 0; shift < 32; shift += r->linear->bits)
        ones |= 1u << shift;
    for (size_t i = 0; i < n; i++)
        qc_store_le32(words + 4 * i, qc_load_le32(words + 4 * i) + ones);
}

/* GPTQ: fields along rows of [n_groups, words of outputs]. */
static qc_status read_gptq_zeros(pk_reader *r, uint64_t row, size_t n, uint8_t *dst, turn to)
{
    const pk_linear *l = r->linear;
    const uint8_t mask = (uint8_t)((1u << l->bits) - 1);
    strings s = {.bits = l->bits};
    uint64_t begin, end;
    words_that_hold(&s, row, n, &begin, &end);
    const size_t words = (size_t)(end - begin);
    const rectangle q = {l->zeros, 0, l->n_groups, 4 * begin, 4 * words};
    qc_status status = reserve(r, &r->words, l->n_groups, words, 4);
    if (status == QC_OK)
        status = read_rectangle(r, &q, r->words.data);
    if (status != QC_OK)
        return status;
    if (l->zero_rule == PK_ZERO_LESS_ONES)
        add_ones(r, r->words.data, (size_t)l->n_groups * words);
    s.words = r->words.data;
    s.along = 1;
    s.across = words;
    s.first_word = begin;
    get_fields(&s, row, n, (size_t)l->n_groups, dst, to);
    for (size_t i = 0; l->zero_rule == PK_ZERO_LESS_ONE && i < n * l->n_groups; i++)
        dst[i] = (uint8_t)(dst[i] + 1) & mask;
    return QC_OK;
}

/* Signed bytes, one beside every scale; unsigned as codes are. */
static qc_status read_byte_zeros(pk_reader *r, uint64_t row, size_t n)
{
    const pk_linear *l = r->linear;
    const size_t groups = (size_t)l->n_groups;
    uint64_t first;
    qc_status status = read_beside(r, l->zeros, row, n, &first);
    int16_t *zero = r->zeros.data;
    const unsigned char *from = r->words.data;
    for (size_t i = 0; i < n && status == QC_OK; i++)
        for (size_t g = 0; g < groups; g++) {
            int byte = from[(size_t)(scale_row(l, row + i) - first) * groups + g];
            zero[i * groups + g] = (int16_t)((byte ^ 0x80) - 0x80 + (1 << (l->bits - 1)));
        }
    return status;
}

/* Bytes at the room's front, widened from the back. */
static void widen(pk_reader *r, size_t n)
{
    const uint8_t *narrow = r->zeros.data;
    int16_t *wide = r->zeros.data;
    for (size_t i = n; i-- > 0;)
        wide[i] = narrow[i];
}

qc_status pk_read_zeros(pk_reader *r, uint64_t row, size_t n)
{
    const pk_linear *l = r->linear;
    const size_t groups = (size_t)l->n_groups;
    const turn to = {groups, 1}; /* fields are outputs, strings are groups */
    strings s = {.bits = l->bits, .per_word = l->per_word};
    qc_status status = reserve(r, &r->zeros, n, l->n_groups, sizeof(int16_t));
    if (status != QC_OK)
        return status;
    if (!strcmp(l->zeros->encoding, "i8"))
        return read_byte_zeros(r, row, n);
    if (l->layout == PK_DOWN) {
        status = read_gptq_zeros(r, row, n, r->zeros.data, to);
    } else if (l->layout == PK_ACROSS) {
        s.per_word = 8;
        s.shuffled = 1;
        status = read_along(r, l->zeros, s, 0, groups, row, n, r->zeros.data, to);
    } else {
        status = read_down(r, l->zeros, s, 0, groups, row, n, r->zeros.data, to);
    }
    if (status == QC_OK)
        widen(r, n * groups);
    return status;
}

/* ---- groups ---- */

qc_status pk_read_groups(pk_reader *r, int *in_order)
{
    const pk_linear *l = r->linear;
    const rectangle q = {l->groups, 0, 1, 0, (size_t)l->groups->bytes};
    qc_status status = reserve(r, &r->groups, l->cols, 1, sizeof(uint32_t));
    if (status == QC_OK)
        status = read_rectangle(r, &q, r->groups.data);
    if (status != QC_OK)
        return status;
    uint32_t *group = r->groups.data;
    uint64_t n_none = 0;
    *in_order = 1;
    for (uint64_t i = 0; i < l->cols; i++) {
        group[i] = qc_load_le32(&group[i]);
        n_none += group[i] == UINT32_MAX;
        *in_order &= group[i] == i / l->group;
    }
    if (n_none == l->cols) /* -1 throughout: not used */
        *in_order = 1;
    for (uint64_t i = 0; i < l->cols && !*in_order; i++)
        if (group[i] >= l->n_groups)
            return pk_bad(r, l->groups, "it names a group that there is not");
    return QC_OK;
}
