#include "markers.h"
#include <stdlib.h>

static unsigned kind_of(const token_table *t, uint32_t id)
{
    switch (t->types[id]) {
    case TOKEN_USER_DEFINED:
        return FOUND_ALWAYS;
    case TOKEN_CONTROL:
    case TOKEN_UNKNOWN:
        return FOUND_SPECIAL;
    default:
        return 0;
    }
}

static int compare(const void *a, const void *b)
{
    const qc_text *x = *(const qc_text *const *)a, *y = *(const qc_text *const *)b;
    int order = memcmp(x->data, y->data, x->length < y->length ? x->length : y->length);
    return order ? order : (x->length > y->length) - (x->length < y->length);
}

static void fill(markers *m, const token_table *t, const qc_text *const *sorted)
{
    for (uint32_t i = 0; i < m->n; i++) {
        uint32_t id = (uint32_t)(sorted[i] - t->texts);
        unsigned char byte = (unsigned char)sorted[i]->data[0];
        m->ids[i] = id;
        m->begins[byte] |= (uint8_t)kind_of(t, id);
        m->first[byte + 1]++;
    }
    for (int b = 0; b < 256; b++)
        m->first[b + 1] += m->first[b];
}

qc_status markers_open(markers *m, qc_job *job, const token_table *t)
{
    const qc_text **sorted = (const qc_text **)job->scratch(job, ((size_t)t->n + 1) * sizeof(void *));
    *m = (markers){NULL, 0, {0}, {0}};
    if (!sorted)
        return qc_fail(job, QC_E_NOMEM, "out of memory for %u tokens", t->n);
    for (uint32_t i = 0; i < t->n; i++) {
        if (kind_of(t, i) == 0 || t->texts[i].length == 0)
            continue;
        if (t->texts[i].length > MAX_MARKER_BYTES)
            return qc_fail(job, QC_E_LIMIT, "token %u is %zu bytes long; special ones may have %d", i,
                           t->texts[i].length, MAX_MARKER_BYTES);
        sorted[m->n++] = &t->texts[i];
    }
    qsort(sorted, m->n, sizeof *sorted, compare);
    m->ids = (uint32_t *)take(job, m->n, sizeof *m->ids);
    if (!m->ids)
        return QC_E_NOMEM;
    fill(m, t, sorted);
    return QC_OK;
}

void markers_close(markers *m, const qc_host *host)
{
    host->free(host, m->ids);
}

/* The first of ids[low .. high), which share `depth` bytes, whose next byte is at least `byte`. */
static uint32_t bound(const markers *m, const token_table *t, uint32_t low, uint32_t high, size_t depth, int byte)
{
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const qc_text *text = &t->texts[m->ids[middle]];
        int has = text->length > depth ? (unsigned char)text->data[depth] : -1;
        if (has < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The longest that the text begins with; UINT32_MAX: none. */
static uint32_t match(const markers *m, const token_table *t, const char *text, size_t n, unsigned found)
{
    uint32_t best = UINT32_MAX;
    unsigned char byte = (unsigned char)text[0];
    uint32_t low = m->first[byte], high = m->first[byte + 1];
    for (size_t depth = 1; low < high; depth++) {
        if (t->texts[m->ids[low]].length == depth) {
            if (kind_of(t, m->ids[low]) & found)
                best = m->ids[low];
            low++;
        }
        if (depth >= n)
            break;
        byte = (unsigned char)text[depth];
        low = bound(m, t, low, high, depth, byte);
        high = bound(m, t, low, high, depth, byte + 1);
    }
    return best;
}

size_t markers_find(const markers *m, const token_table *t, const char *text, size_t n, unsigned found, uint32_t *id)
{
    for (size_t at = 0; at < n && m->n > 0; at++) {
        if (!(m->begins[(unsigned char)text[at]] & found))
            continue;
        *id = match(m, t, text + at, n - at, found);
        if (*id != UINT32_MAX)
            return at;
    }
    return n;
}
