/* Byte-level BPE at work. Text goes through four steps: markers are split off (encoder.c), what is left is composed
 * where the family asks for it, cut into pieces by expressions, and each piece's bytes are joined by the merges. Bytes
 * that are no UTF-8 are a piece of their own, so that nothing is lost. */
#include "byte_level.h"
#include "composing.h"
#include "encoder.h"
#include "kinds.h"
#include "patterns.h"
#include "pretokenizer.h"
#include "utf8.h"

enum { MAX_MERGED_BYTES = 65536, SHOWN = 40 };

typedef struct bpe {
    token_table table;
    markers markers;
    patterns patterns;
    pair_map merges;
    uint32_t bytes[256]; /* the token of each byte; QC_NO_TOKEN: none */
    size_t longest; /* text of a token */
} bpe;

/* ---- opening ---- */

static size_t write_piece(const qc_text *text, int type, char *piece)
{
    if (type != TOKEN_USER_DEFINED)
        return byte_level_piece(text, piece);
    memcpy(piece, text->data, text->length);
    return text->length;
}

static void find_bytes(bpe *b)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        char mapped[MAPPED_BYTES];
        size_t n = byte_level_write((unsigned char)byte, mapped);
        b->bytes[byte] = text_map_find(&b->table.ids, mapped, n);
    }
    for (uint32_t i = 0; i < b->table.n; i++)
        if (b->table.texts[i].length > b->longest)
            b->longest = b->table.texts[i].length;
}

/* "left right", cut at the first space that is not the first byte. joined: room for MAX_MERGED_BYTES. */
static qc_status add_merge(bpe *b, qc_job *job, uint32_t rank, const qc_text *merge, char *joined)
{
    const text_map *ids = &b->table.ids;
    size_t length = merge->length;
    const char *space = length > 2 ? (const char *)memchr(merge->data + 1, ' ', length - 2) : NULL;
    if (!space || length > MAX_MERGED_BYTES)
        return qc_fail(job, QC_E_CORRUPT, "tokenizer.ggml.merges: merge %u (\"%.*s\") is not two tokens and a space",
                       rank, (int)(length < SHOWN ? length : SHOWN), merge->data);
    size_t left = (size_t)(space - merge->data), right = length - left - 1;
    memcpy(joined, merge->data, left);
    memcpy(joined + left, space + 1, right);
    const pair p = {text_map_find(ids, joined, left), text_map_find(ids, space + 1, right), rank,
                    text_map_find(ids, joined, left + right)};
    if (p.left == UINT32_MAX || p.right == UINT32_MAX || p.result == UINT32_MAX)
        return qc_fail(job, QC_E_CORRUPT, "tokenizer.ggml.merges: merge %u (\"%.*s\") has a part that is no token",
                       rank, (int)(length < SHOWN ? length : SHOWN), merge->data);
    return pair_map_add(&b->merges, job, &p);
}

static qc_status read_merges(bpe *b, qc_job *job, const qc_metadata *metadata)
{
    const qc_meta *merges;
    char *joined = (char *)job->scratch(job, MAX_MERGED_BYTES);
    if (!joined)
        return qc_fail(job, QC_E_NOMEM, "out of memory for merges");
    qc_status status = find_array(job, metadata, "tokenizer.ggml.merges", QC_TEXT, QC_TEXT, 0, 0, &merges);
    if (status == QC_OK && merges->count > UINT32_MAX - 1)
        return qc_fail(job, QC_E_CORRUPT, "tokenizer.ggml.merges: %llu merges are too many",
                       (unsigned long long)merges->count);
    for (uint64_t i = 0; status == QC_OK && i < merges->count; i++)
        status = add_merge(b, job, (uint32_t)i, (const qc_text *)merges->data + i, joined);
    return status;
}

static int is_word(const qc_text *text, const char *word)
{
    return text->length == strlen(word) && memcmp(text->data, word, text->length) == 0;
}

/* What pretokenizer.c reported, where the name of the pre-tokenizer is not enough. */
static qc_status read_normalizer(bpe *b, qc_job *job, const qc_metadata *metadata)
{
    const qc_text *text = qc_metadata_text(metadata, NORMALIZER_KEY);
    if (!text)
        return QC_OK;
    if (is_word(text, "nfc"))
        b->patterns.flags |= PRE_COMPOSES;
    else if (is_word(text, "none"))
        b->patterns.flags &= ~(unsigned)PRE_COMPOSES;
    else
        return qc_fail(job, QC_E_UNSUPPORTED, NORMALIZER_KEY ": unknown normalizer '%.*s'",
                       (int)(text->length < SHOWN ? text->length : SHOWN), text->data);
    return QC_OK;
}

static qc_status open_parts(bpe *b, qc_job *job, const qc_metadata *metadata)
{
    const qc_text *pre = qc_metadata_text(metadata, "tokenizer.ggml.pre");
    qc_status status = patterns_open(&b->patterns, job, pre ? pre->data : "", pre ? pre->length : 0);
    const table_defaults defaults = {QC_NO_TOKEN, QC_NO_TOKEN, QC_NO_TOKEN, (b->patterns.flags & PRE_ADDS_BOS) != 0, 0};
    if (status == QC_OK)
        status = read_normalizer(b, job, metadata);
    if (status == QC_OK)
        status = table_open(&b->table, job, metadata, &defaults, write_piece);
    if (status == QC_OK)
        status = markers_open(&b->markers, job, &b->table);
    if (status == QC_OK)
        status = read_merges(b, job, metadata);
    if (status == QC_OK)
        find_bytes(b);
    return status;
}

qc_status open_bpe(qc_job *job, const qc_metadata *metadata, void **state)
{
    bpe *b = (bpe *)take(job, 1, sizeof *b);
    *state = NULL;
    if (!b)
        return QC_E_NOMEM;
    qc_status status = open_parts(b, job, metadata);
    if (status == QC_OK)
        *state = b;
    else
        close_bpe(job->host, b);
    return status;
}

void close_bpe(const qc_host *host, void *state)
{
    bpe *b = (bpe *)state;
    if (!b)
        return;
    patterns_close(&b->patterns);
    pair_map_end(&b->merges, host);
    markers_close(&b->markers, host);
    table_close(&b->table, host);
    host->free(host, b);
}

void special_bpe(const void *state, qc_special_tokens *out)
{
    table_special(&((const bpe *)state)->table, out);
}

const char *piece_bpe(const void *state, uint32_t id, size_t *n)
{
    return table_piece(&((const bpe *)state)->table, id, n);
}

/* ---- encoding ---- */

/* One call of encode. */
typedef struct run {
    const bpe *bpe;
    encoder *encoder;
    pcre2_match_data *match;
    char *mapped; /* [bpe->longest] for a whole piece */
} run;

/* The token that the piece is as it stands; QC_NO_TOKEN: none. */
static uint32_t find_whole(const run *r, const char *piece, size_t n)
{
    size_t length = 0, longest = r->bpe->longest;
    for (size_t i = 0; i < n; i++) {
        if (length >= longest)
            return QC_NO_TOKEN;
        length += byte_level_write((unsigned char)piece[i], r->mapped + length);
    }
    return text_map_find(&r->bpe->table.ids, r->mapped, length);
}

/* A byte without a token is an unknown one, or left out. */
static qc_status emit_symbols(run *r)
{
    const joiner *j = &r->encoder->joiner;
    qc_status status = QC_OK;
    for (uint32_t i = 0; i != LAST_SYMBOL && status == QC_OK; i = j->symbols[i].next) {
        uint32_t id = j->symbols[i].id != QC_NO_TOKEN ? j->symbols[i].id : r->bpe->table.unknown;
        if (id != QC_NO_TOKEN)
            status = encoder_emit(r->encoder, id);
    }
    return status;
}

static qc_status encode_piece(void *arg, const char *piece, size_t n)
{
    run *r = (run *)arg;
    joiner *j = &r->encoder->joiner;
    uint32_t whole = r->bpe->patterns.flags & PRE_IGNORES_MERGES ? find_whole(r, piece, n) : QC_NO_TOKEN;
    if (whole != QC_NO_TOKEN)
        return encoder_emit(r->encoder, whole);
    qc_status status = QC_OK;
    joiner_clear(j);
    for (size_t i = 0; i < n && status == QC_OK; i++)
        status = joiner_add(j, r->bpe->bytes[(unsigned char)piece[i]], (uint32_t)i);
    if (status == QC_OK)
        status = joiner_run(j);
    return status == QC_OK ? emit_symbols(r) : status;
}

static qc_status encode_sound(run *r, const char *text, size_t n)
{
    const patterns *p = &r->bpe->patterns;
    qc_status status = p->flags & PRE_COMPOSES ? compose(r->encoder->job, text, n, &text, &n) : QC_OK;
    return status == QC_OK ? patterns_cut(p, r->encoder->job, r->match, text, n, encode_piece, r) : status;
}

static qc_status encode_stretch(encoder *e, void *arg, const char *text, size_t n)
{
    run *r = (run *)arg;
    qc_status status = QC_OK;
    (void)e;
    while (n > 0 && status == QC_OK) {
        uint32_t c;
        size_t length = utf8_sound(text, n);
        if (length > 0) {
            status = encode_sound(r, text, length);
        } else {
            while (length < n && utf8_next(text + length, n - length, &c) == 0)
                length++;
            status = encode_piece(r, text, length);
        }
        text += length;
        n -= length;
    }
    return status;
}

qc_status encode_bpe(qc_job *job, const void *state, const char *text, size_t n, uint32_t flags, const qc_tokens *out)
{
    const bpe *b = (const bpe *)state;
    encoder e;
    run r = {b, &e, pcre2_match_data_create(1, NULL), (char *)job->scratch(job, b->longest + MAPPED_BYTES)};
    encoder_begin(&e, job, &b->table, &b->markers, &b->merges, out);
    qc_status status = r.match && r.mapped ? encoder_run(&e, text, n, flags, encode_stretch, &r)
                                           : qc_fail(job, QC_E_NOMEM, "out of memory for a text of %zu bytes", n);
    pcre2_match_data_free(r.match);
    return status;
}
