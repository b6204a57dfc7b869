#include "merges.h"

enum { MAX_MERGES = 1 << 26, MAX_MERGED_BYTES = 65536 };

/* Older files write "left right", cut at the first space that is not the first byte; newer ones ["left", "right"], so
 * that parts may hold spaces. 0: neither. */
static int split(const json_t *merge, qc_text *left, qc_text *right)
{
    if (json_is_string(merge)) {
        const char *text = json_string_value(merge);
        size_t length = json_string_length(merge);
        const char *space = length > 1 ? (const char *)memchr(text + 1, ' ', length - 1) : NULL;
        if (!space)
            return 0;
        *left = (qc_text){text, (size_t)(space - text)};
        *right = (qc_text){space + 1, length - left->length - 1};
    } else {
        const json_t *first = json_array_get(merge, 0), *second = json_array_get(merge, 1);
        if (json_array_size(merge) != 2 || !json_is_string(first) || !json_is_string(second))
            return 0;
        *left = (qc_text){json_string_value(first), json_string_length(first)};
        *right = (qc_text){json_string_value(second), json_string_length(second)};
    }
    return left->length > 0 && right->length > 0 && left->length + right->length <= MAX_MERGED_BYTES;
}

qc_status merges_visit(const json_t *merges, const vocabulary *v, merge_visitor visit, void *arg)
{
    size_t n = json_array_size(merges);
    char *joined = (char *)v->job->scratch(v->job, MAX_MERGED_BYTES);
    if (!joined)
        return qc_fail(v->job, QC_E_NOMEM, "out of memory for merges");
    if (!json_is_array(merges) || n > MAX_MERGES)
        return qc_fail(v->job, QC_E_CORRUPT, "tokenizer.json: no list of merges, or one too long");
    for (size_t i = 0; i < n; i++) {
        qc_text left, right;
        if (!split(json_array_get(merges, i), &left, &right))
            return qc_fail(v->job, QC_E_CORRUPT, "tokenizer.json: merge %zu is not a pair of texts", i);
        memcpy(joined, left.data, left.length);
        memcpy(joined + left.length, right.data, right.length);
        uint32_t id = vocabulary_find(v, joined, left.length + right.length);
        if (id == UINT32_MAX || vocabulary_find(v, left.data, left.length) == UINT32_MAX ||
            vocabulary_find(v, right.data, right.length) == UINT32_MAX)
            return qc_fail(v->job, QC_E_CORRUPT,
                           "tokenizer.json: merge %zu (%.*s and %.*s) has a part that is no token", i,
                           (int)(left.length < 40 ? left.length : 40), left.data,
                           (int)(right.length < 40 ? right.length : 40), right.data);
        qc_status status = visit(arg, (uint32_t)i, &left, &right, id);
        if (status != QC_OK)
            return status;
    }
    return QC_OK;
}

typedef struct list {
    qc_text *texts;
    char *end; /* of the texts so far, in one buffer */
} list;

/* The space between the parts is the first one, so spaces inside become U+0120, which byte-level BPE has for them. */
static char *append(char *end, const qc_text *part)
{
    for (size_t i = 0; i < part->length; i++) {
        if (part->data[i] == ' ') {
            *end++ = (char)0xc4;
            *end++ = (char)0xa0;
        } else {
            *end++ = part->data[i];
        }
    }
    return end;
}

static qc_status keep(void *arg, uint32_t rank, const qc_text *left, const qc_text *right, uint32_t id)
{
    list *l = (list *)arg;
    (void)id;
    char *text = l->end;
    l->end = append(l->end, left);
    *l->end++ = ' ';
    l->end = append(l->end, right);
    l->texts[rank] = (qc_text){text, (size_t)(l->end - text)};
    return QC_OK;
}

/* As much as `keep` can write. */
static size_t sum_lengths(const json_t *merges)
{
    size_t sum = 1;
    for (size_t i = 0; i < json_array_size(merges); i++) {
        qc_text left, right;
        if (split(json_array_get(merges, i), &left, &right))
            sum += 2 * (left.length + right.length) + 1;
    }
    return sum;
}

qc_status merges_report(const json_t *merges, const vocabulary *v, const qc_scan *out)
{
    size_t n = json_array_size(merges);
    list l = {(qc_text *)v->job->scratch(v->job, (n + 1) * sizeof *l.texts),
              (char *)v->job->scratch(v->job, sum_lengths(merges))};
    if (!l.texts || !l.end)
        return qc_fail(v->job, QC_E_NOMEM, "out of memory for %zu merges", n);
    qc_status status = merges_visit(merges, v, keep, &l);
    const qc_meta meta = {sizeof meta, "tokenizer.ggml.merges", QC_TEXT, 1, n, l.texts};
    return status == QC_OK ? out->meta(out, v->job, &meta) : status;
}
