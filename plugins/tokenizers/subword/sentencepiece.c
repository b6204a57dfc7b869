/* Numbers of fields are those of SentencePiece's sentencepiece_model.proto; the encoding is protocol buffers' own: a
 * message is a list of fields, each a tag (number << 3 | wire type, as a varint) and a value.
 *
 *     wire type 0  varint: 7 bits a byte, lowest first, top bit set in all but the last
 *               1  8 bytes        2  varint length, then as many bytes        5  4 bytes
 */
#include "sentencepiece.h"

typedef struct wire {
    const unsigned char *at, *end;
} wire;

typedef struct field {
    uint64_t number;
    uint64_t value; /* of wire types 0, 1 and 5 */
    wire bytes; /* of wire type 2; else empty */
} field;

static int read_varint(wire *w, uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; shift < 64 && w->at < w->end; shift += 7) {
        unsigned char byte = *w->at++;
        *value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128)
            return 1;
    }
    return 0;
}

static int read_fixed(wire *w, unsigned n, uint64_t *value)
{
    if ((size_t)(w->end - w->at) < n)
        return 0;
    *value = 0;
    for (unsigned i = 0; i < n; i++)
        *value |= (uint64_t)w->at[i] << 8 * i;
    w->at += n;
    return 1;
}

static int read_bytes(wire *w, wire *bytes)
{
    uint64_t n;
    if (!read_varint(w, &n) || n > (uint64_t)(w->end - w->at))
        return 0;
    *bytes = (wire){w->at, w->at + n};
    w->at += n;
    return 1;
}

/* The next field: 1, none left: 0, not a message: -1. */
static int next_field(wire *w, field *f)
{
    uint64_t tag;
    *f = (field){0, 0, {NULL, NULL}};
    if (w->at == w->end)
        return 0;
    if (!read_varint(w, &tag) || tag >> 3 == 0)
        return -1;
    f->number = tag >> 3;
    int whole = 0;
    switch (tag & 7) {
    case 0:
        whole = read_varint(w, &f->value);
        break;
    case 1:
        whole = read_fixed(w, 8, &f->value);
        break;
    case 2:
        whole = read_bytes(w, &f->bytes);
        break;
    case 5:
        whole = read_fixed(w, 4, &f->value);
        break;
    }
    return whole ? 1 : -1;
}

static float float_of(uint64_t bits)
{
    uint32_t low = (uint32_t)bits;
    float value;
    memcpy(&value, &low, sizeof value);
    return value;
}

/* SentencePiece: 1 piece, 2 score, 3 type. */
static int read_piece(wire w, token *t)
{
    field f;
    int more;
    *t = (token){"", 0, TOKEN_NORMAL, 0};
    while ((more = next_field(&w, &f)) > 0) {
        if (f.number == 1 && f.bytes.at) {
            t->text = (const char *)f.bytes.at;
            t->length = (size_t)(f.bytes.end - f.bytes.at);
        } else if (f.number == 2) {
            t->score = float_of(f.value);
        } else if (f.number == 3) {
            t->type = f.value > TOKEN_BYTE ? 0 : (int32_t)f.value;
        }
    }
    int finite = t->score - t->score == 0;
    return more == 0 && t->type >= TOKEN_NORMAL && finite;
}

static int32_t id_of(uint64_t value)
{
    return value <= INT32_MAX ? (int32_t)value : -1;
}

/* TrainerSpec: 3 model_type, 35 byte_fallback, 40 to 43 ids. */
static int read_trainer(wire w, sentencepiece *m)
{
    field f;
    int more;
    while ((more = next_field(&w, &f)) > 0) {
        if (f.number == 3)
            m->model_type = f.value;
        else if (f.number == 35)
            m->byte_fallback = f.value != 0;
        else if (f.number == 40)
            m->unknown_id = id_of(f.value);
        else if (f.number == 41)
            m->bos_id = id_of(f.value);
        else if (f.number == 42)
            m->eos_id = id_of(f.value);
        else if (f.number == 43)
            m->padding_id = id_of(f.value);
    }
    return more == 0;
}

/* NormalizerSpec: 2 precompiled_charsmap, 3 add_dummy_prefix, 4 remove_extra_whitespaces. */
static int read_normalizer(wire w, sentencepiece *m)
{
    field f;
    int more;
    while ((more = next_field(&w, &f)) > 0) {
        if (f.number == 2) {
            m->charsmap = f.bytes.at;
            m->charsmap_length = f.bytes.at ? (size_t)(f.bytes.end - f.bytes.at) : 0;
        } else if (f.number == 3) {
            m->add_dummy_prefix = f.value != 0;
        } else if (f.number == 4) {
            m->remove_extra_whitespaces = f.value != 0;
        }
    }
    return more == 0;
}

int sentencepiece_probe(const void *data, size_t length)
{
    return length > 0 && *(const unsigned char *)data == (1 << 3 | 2); /* the tag of the first piece */
}

/* ModelProto: 1 pieces, 2 trainer_spec, 3 normalizer_spec. */
qc_status sentencepiece_read(qc_job *job, const void *data, size_t length, sentencepiece *m, piece_visitor visit,
                             void *arg)
{
    wire w = {(const unsigned char *)data, (const unsigned char *)data + length};
    field f;
    int more, whole = 1;
    qc_status status = QC_OK;
    *m = (sentencepiece){PIECES_UNIGRAM, 0, 1, 1, 0, 1, 2, -1, NULL, 0, 0};
    while (whole && status == QC_OK && (more = next_field(&w, &f)) != 0) {
        token t;
        whole = more > 0;
        if (whole && f.number == 1) {
            whole = read_piece(f.bytes, &t) && m->n_pieces < MAX_VOCABULARY;
            status = whole ? visit(arg, m->n_pieces++, &t) : QC_OK;
        } else if (whole && f.number == 2) {
            whole = read_trainer(f.bytes, m);
        } else if (whole && f.number == 3) {
            whole = read_normalizer(f.bytes, m);
        }
    }
    if (!whole)
        return qc_fail(job, QC_E_CORRUPT, "tokenizer.model: not a whole SentencePiece model (after piece %u)",
                       m->n_pieces);
    return status;
}
