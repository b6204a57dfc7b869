#include "maps.h"

enum { FEWEST_SLOTS = 64 };

/* At most half of the slots are taken. 0: more than memory could have. */
static size_t slots_for(size_t n)
{
    size_t slots = FEWEST_SLOTS;
    while (slots / 2 < n && slots < SIZE_MAX / 4)
        slots *= 2;
    return slots / 2 < n ? 0 : slots;
}

static qc_status refuse_collisions(qc_job *job)
{
    return qc_fail(job, QC_E_CORRUPT, "the vocabulary is made to be slow: too many of its tokens share a hash");
}

/* ---- texts ---- */

static size_t hash_text(const char *text, size_t n)
{
    uint64_t h = 0xcbf29ce484222325u ^ n;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)text[i]) * 0x100000001b3u;
    h *= 0x9e3779b97f4a7c15u;
    return (size_t)(h >> 20);
}

qc_status text_map_begin(text_map *m, qc_job *job, const qc_text *texts, size_t n)
{
    *m = (text_map){texts, NULL, slots_for(n)};
    m->slots = m->n_slots ? (uint32_t *)job->host->alloc(job->host, m->n_slots * sizeof *m->slots) : NULL;
    return m->slots ? QC_OK : qc_fail(job, QC_E_NOMEM, "out of memory for %zu tokens", n);
}

void text_map_end(text_map *m, const qc_host *host)
{
    host->free(host, m->slots);
    m->slots = NULL;
}

static int is_text(const text_map *m, uint32_t slot, const char *text, size_t n)
{
    const qc_text *t = &m->texts[slot - 1];
    return t->length == n && memcmp(t->data, text, n) == 0;
}

qc_status text_map_add(text_map *m, qc_job *job, uint32_t id, uint32_t *taken)
{
    const qc_text *t = &m->texts[id];
    size_t at = hash_text(t->data, t->length) & (m->n_slots - 1);
    *taken = UINT32_MAX;
    for (int probes = 0; probes < MAX_PROBES; probes++, at = (at + 1) & (m->n_slots - 1)) {
        if (m->slots[at] == 0) {
            m->slots[at] = id + 1;
            return QC_OK;
        }
        if (is_text(m, m->slots[at], t->data, t->length)) {
            *taken = m->slots[at] - 1;
            return QC_OK;
        }
    }
    return refuse_collisions(job);
}

uint32_t text_map_find(const text_map *m, const char *text, size_t n)
{
    size_t at = hash_text(text, n) & (m->n_slots - 1);
    while (m->slots[at] != 0 && !is_text(m, m->slots[at], text, n))
        at = (at + 1) & (m->n_slots - 1);
    return m->slots[at] - 1;
}

/* ---- pairs ---- */

static size_t hash_pair(uint32_t left, uint32_t right)
{
    uint64_t h = ((uint64_t)left << 32 | right) * 0x9e3779b97f4a7c15u;
    h = (h ^ h >> 29) * 0xbf58476d1ce4e5b9u;
    return (size_t)(h >> 24);
}

void pair_map_end(pair_map *m, const qc_host *host)
{
    host->free(host, m->slots);
    m->slots = NULL;
    m->n_slots = m->n = 0;
}

/* The slot that has the pair, or a free one; NULL: too many others stand in between. */
static pair *find_slot(const pair_map *m, uint32_t left, uint32_t right)
{
    size_t at = hash_pair(left, right) & (m->n_slots - 1);
    for (int probes = 0; probes < MAX_PROBES; probes++, at = (at + 1) & (m->n_slots - 1)) {
        pair *slot = &m->slots[at];
        if (slot->left == UINT32_MAX || (slot->left == left && slot->right == right))
            return slot;
    }
    return NULL;
}

static qc_status insert(pair_map *m, qc_job *job, const pair *p)
{
    pair *slot = find_slot(m, p->left, p->right);
    if (!slot)
        return refuse_collisions(job);
    if (slot->left != UINT32_MAX)
        return QC_OK;
    *slot = *p;
    m->n++;
    return QC_OK;
}

static qc_status grow(pair_map *m, qc_job *job)
{
    pair_map more = {NULL, slots_for(m->n + 1), 0};
    qc_status status = QC_OK;
    more.slots = more.n_slots && more.n_slots <= SIZE_MAX / sizeof(pair)
                     ? (pair *)job->host->alloc(job->host, more.n_slots * sizeof(pair))
                     : NULL;
    if (!more.slots)
        return qc_fail(job, QC_E_NOMEM, "out of memory for %zu pairs of tokens", m->n);
    for (size_t i = 0; i < more.n_slots; i++)
        more.slots[i].left = UINT32_MAX;
    for (size_t i = 0; i < m->n_slots && status == QC_OK; i++)
        if (m->slots[i].left != UINT32_MAX)
            status = insert(&more, job, &m->slots[i]);
    pair_map_end(m, job->host);
    *m = more;
    return status;
}

qc_status pair_map_add(pair_map *m, qc_job *job, const pair *p)
{
    qc_status status = m->n_slots / 2 <= m->n ? grow(m, job) : QC_OK;
    return status == QC_OK ? insert(m, job, p) : status;
}

const pair *pair_map_find(const pair_map *m, uint32_t left, uint32_t right)
{
    const pair *slot = m->n_slots > 0 ? find_slot(m, left, right) : NULL;
    return slot && slot->left != UINT32_MAX ? slot : NULL;
}
