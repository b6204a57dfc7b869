/* SentencePiece's BPE at work: spaces become U+2581, one is put in front of each stretch of text, and characters are
 * joined into the tokens of the highest scores. What ends as no token is spelt in bytes.
 *
 * Any split of a token into two others is a merge, its rank that of the token's score; so the joiner of byte-level BPE
 * does the work. Characters that stand side by side in no token cannot be joined over: there the text is cut, which
 * changes nothing but makes the pieces as short as words. */
#include "encoder.h"
#include "kinds.h"
#include "utf8.h"
#include <stdlib.h>

#define SPACE "\xe2\x96\x81" /* U+2581 */

enum { SPACE_BYTES = 3, BYTE_TOKEN_BYTES = 6, MAX_JOINED_BYTES = 256, BROKEN = 0x110000 };

typedef struct spm {
    token_table table;
    markers markers;
    pair_map joins;
    pair_map characters; /* (0, code point): the token of that one character */
    pair_map neighbours; /* (code point, code point) that a token has side by side */
    uint32_t bytes[256]; /* QC_NO_TOKEN: none */
    int add_space_prefix;
} spm;

/* ---- opening ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte of "<0x0A>"; -1 where the text is none. */
static int read_byte(const qc_text *text)
{
    const char *s = text->data;
    if (text->length != BYTE_TOKEN_BYTES || memcmp(s, "<0x", 3) != 0 || s[5] != '>')
        return -1;
    int high = hex_digit(s[3]), low = hex_digit(s[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

static size_t write_piece(const qc_text *text, int type, char *piece)
{
    int byte = type == TOKEN_BYTE ? read_byte(text) : -1;
    size_t n = 0;
    if (byte >= 0) {
        piece[0] = (char)byte;
        return 1;
    }
    for (size_t at = 0; at < text->length;) {
        int is_space = text->length - at >= SPACE_BYTES && memcmp(text->data + at, SPACE, SPACE_BYTES) == 0;
        piece[n++] = is_space ? ' ' : text->data[at];
        at += is_space ? SPACE_BYTES : 1;
    }
    return n;
}

/* May it come of joining characters? */
static int is_joined(const spm *s, uint32_t id)
{
    int type = s->table.types[id];
    return type == TOKEN_NORMAL || type == TOKEN_USER_DEFINED || type == TOKEN_UNUSED;
}

/* A code point, or BROKEN and more for a byte that is no UTF-8; moves on. */
static uint32_t next_character(const char *text, size_t n, size_t *at)
{
    uint32_t c;
    size_t length = utf8_next(text + *at, n - *at, &c);
    if (length == 0)
        c = BROKEN + (unsigned char)text[*at];
    *at += length ? length : 1;
    return c;
}

/* Scores of canonical metadata are numbers of either type. */
static float score_at(const qc_meta *scores, uint32_t i)
{
    return scores->type == QC_F32 ? ((const float *)scores->data)[i] : (float)((const int32_t *)scores->data)[i];
}

typedef struct scored {
    float score;
    uint32_t id;
} scored;

static int compare(const void *a, const void *b)
{
    const scored *x = (const scored *)a, *y = (const scored *)b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

static qc_status add_neighbours(spm *s, qc_job *job, const qc_text *text)
{
    size_t at = 0;
    qc_status status = QC_OK;
    uint32_t last = next_character(text->data, text->length, &at);
    while (at < text->length && status == QC_OK) {
        const pair p = {last, next_character(text->data, text->length, &at), 0, 0};
        status = pair_map_add(&s->neighbours, job, &p);
        last = p.right;
    }
    return status;
}

/* Every cut of the token into two. */
static qc_status add_joins(spm *s, qc_job *job, uint32_t id, uint32_t rank)
{
    const qc_text *text = &s->table.texts[id];
    qc_status status = QC_OK;
    size_t at = 0;
    uint32_t c = next_character(text->data, text->length, &at);
    if (at == text->length) {
        const pair character = {0, c, 0, id};
        return pair_map_add(&s->characters, job, &character);
    }
    for (; at < text->length && status == QC_OK; next_character(text->data, text->length, &at)) {
        uint32_t left = text_map_find(&s->table.ids, text->data, at), right = UINT32_MAX;
        if (left != UINT32_MAX && is_joined(s, left))
            right = text_map_find(&s->table.ids, text->data + at, text->length - at);
        const pair p = {left, right, rank, id};
        if (right != UINT32_MAX && is_joined(s, right))
            status = pair_map_add(&s->joins, job, &p);
    }
    return status == QC_OK ? add_neighbours(s, job, text) : status;
}

/* The tokens that joining makes, by falling score. */
static qc_status sort_tokens(const spm *s, qc_job *job, const qc_meta *scores, scored *order, uint32_t *n)
{
    *n = 0;
    for (uint32_t i = 0; i < s->table.n; i++) {
        float score = score_at(scores, i);
        if (score != score)
            return qc_fail(job, QC_E_CORRUPT, "tokenizer.ggml.scores: the score of token %u is not a number", i);
        if (!is_joined(s, i) || s->table.texts[i].length == 0)
            continue;
        if (s->table.texts[i].length > MAX_JOINED_BYTES && s->table.types[i] == TOKEN_NORMAL)
            return qc_fail(job, QC_E_LIMIT, "token %u is %zu bytes long; a SentencePiece token may have %d", i,
                           s->table.texts[i].length, MAX_JOINED_BYTES);
        if (s->table.texts[i].length <= MAX_JOINED_BYTES)
            order[(*n)++] = (scored){score, i};
    }
    qsort(order, *n, sizeof *order, compare);
    return QC_OK;
}

/* Equal scores are one rank: the leftmost goes first. */
static qc_status read_scores(spm *s, qc_job *job, const qc_metadata *metadata)
{
    const qc_meta *scores;
    uint32_t n = 0, rank = 0;
    scored *order = (scored *)job->scratch(job, (size_t)s->table.n * sizeof *order);
    if (!order)
        return qc_fail(job, QC_E_NOMEM, "out of memory for %u tokens", s->table.n);
    qc_status status = find_array(job, metadata, "tokenizer.ggml.scores", QC_F32, QC_I32, s->table.n, 0, &scores);
    if (status == QC_OK)
        status = sort_tokens(s, job, scores, order, &n);
    for (uint32_t i = 0; i < n && status == QC_OK; i++) {
        rank += i > 0 && order[i].score != order[i - 1].score;
        status = add_joins(s, job, order[i].id, rank);
    }
    return status;
}

static void find_bytes(spm *s)
{
    for (int byte = 0; byte < 256; byte++)
        s->bytes[byte] = QC_NO_TOKEN;
    for (uint32_t i = 0; i < s->table.n; i++) {
        int byte = s->table.types[i] == TOKEN_BYTE ? read_byte(&s->table.texts[i]) : -1;
        if (byte >= 0)
            s->bytes[byte] = i;
    }
}

qc_status open_spm(qc_job *job, const qc_metadata *metadata, void **state)
{
    static const table_defaults defaults = {1, 2, 0, 1, 0};
    spm *s = (spm *)take(job, 1, sizeof *s);
    *state = NULL;
    if (!s)
        return QC_E_NOMEM;
    s->add_space_prefix = qc_metadata_number(metadata, "tokenizer.ggml.add_space_prefix", 1) != 0;
    qc_status status = table_open(&s->table, job, metadata, &defaults, write_piece);
    if (status == QC_OK)
        status = markers_open(&s->markers, job, &s->table);
    if (status == QC_OK)
        status = read_scores(s, job, metadata);
    if (status == QC_OK) {
        find_bytes(s);
        *state = s;
    } else {
        close_spm(job->host, s);
    }
    return status;
}

void close_spm(const qc_host *host, void *state)
{
    spm *s = (spm *)state;
    if (!s)
        return;
    pair_map_end(&s->joins, host);
    pair_map_end(&s->characters, host);
    pair_map_end(&s->neighbours, host);
    markers_close(&s->markers, host);
    table_close(&s->table, host);
    host->free(host, s);
}

void special_spm(const void *state, qc_special_tokens *out)
{
    table_special(&((const spm *)state)->table, out);
}

const char *piece_spm(const void *state, uint32_t id, size_t *n)
{
    return table_piece(&((const spm *)state)->table, id, n);
}

/* ---- encoding ---- */

/* One stretch, in which spaces are U+2581 already. */
typedef struct stretch {
    const spm *spm;
    encoder *encoder;
    const char *text;
    int after_unknown; /* several unknown characters in a row are one */
} stretch;

static qc_status emit_unknown(stretch *t)
{
    uint32_t unknown = t->spm->table.unknown;
    int again = t->after_unknown;
    t->after_unknown = 1;
    return again || unknown == QC_NO_TOKEN ? QC_OK : encoder_emit(t->encoder, unknown);
}

static qc_status emit_bytes(stretch *t, size_t begin, size_t end)
{
    const uint32_t *bytes = t->spm->bytes;
    qc_status status = QC_OK;
    for (size_t i = begin; i < end; i++)
        if (bytes[(unsigned char)t->text[i]] == QC_NO_TOKEN)
            return emit_unknown(t);
    t->after_unknown = 0;
    for (size_t i = begin; i < end && status == QC_OK; i++)
        status = encoder_emit(t->encoder, bytes[(unsigned char)t->text[i]]);
    return status;
}

/* Joins the symbols that were added, whose bytes end at `end`. */
static qc_status finish_piece(stretch *t, size_t end)
{
    joiner *j = &t->encoder->joiner;
    qc_status status = joiner_run(j);
    for (uint32_t i = 0; i != LAST_SYMBOL && status == QC_OK; i = j->symbols[i].next) {
        const symbol *s = &j->symbols[i];
        if (s->id == QC_NO_TOKEN) {
            status = emit_bytes(t, s->at, s->next == LAST_SYMBOL ? end : j->symbols[s->next].at);
        } else {
            t->after_unknown = 0;
            status = encoder_emit(t->encoder, s->id);
        }
    }
    joiner_clear(j);
    return status;
}

static qc_status encode_characters(stretch *t, size_t n)
{
    joiner *j = &t->encoder->joiner;
    uint32_t last = 0;
    qc_status status = QC_OK;
    joiner_clear(j);
    for (size_t at = 0, begin; at < n && status == QC_OK;) {
        begin = at;
        uint32_t c = next_character(t->text, n, &at);
        if (j->n > 0 && !pair_map_find(&t->spm->neighbours, last, c))
            status = finish_piece(t, begin);
        const pair *p = pair_map_find(&t->spm->characters, 0, c);
        if (status == QC_OK)
            status = joiner_add(j, p ? p->result : QC_NO_TOKEN, (uint32_t)begin);
        last = c;
    }
    return status == QC_OK ? finish_piece(t, n) : status;
}

static size_t write_spaces(const char *text, size_t n, int prefix, char *out)
{
    size_t length = 0;
    for (size_t i = 0; i < n + (prefix != 0); i++) {
        char c = prefix ? (i == 0 ? ' ' : text[i - 1]) : text[i];
        if (c == ' ') {
            memcpy(out + length, SPACE, SPACE_BYTES);
            length += SPACE_BYTES;
        } else {
            out[length++] = c;
        }
    }
    return length;
}

static qc_status encode_stretch(encoder *e, void *arg, const char *text, size_t n)
{
    const spm *s = (const spm *)arg;
    if (n > UINT32_MAX / SPACE_BYTES - 1)
        return qc_fail(e->job, QC_E_LIMIT, "a text of %zu bytes; cut it into pieces of less than 1 GiB", n);
    char *spaced = (char *)e->job->scratch(e->job, (n + 1) * SPACE_BYTES);
    if (!spaced)
        return qc_fail(e->job, QC_E_NOMEM, "out of memory for a text of %zu bytes", n);
    stretch t = {s, e, spaced, 0};
    return encode_characters(&t, write_spaces(text, n, s->add_space_prefix, spaced));
}

qc_status encode_spm(qc_job *job, const void *state, const char *text, size_t n, uint32_t flags, const qc_tokens *out)
{
    const spm *s = (const spm *)state;
    union {
        const spm *shown;
        void *arg; /* read only */
    } spm_of = {s};
    encoder e;
    encoder_begin(&e, job, &s->table, &s->markers, &s->joins, out);
    return encoder_run(&e, text, n, flags, encode_stretch, spm_of.arg);
}
