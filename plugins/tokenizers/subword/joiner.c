#include "joiner.h"

enum { FIRST_CAPACITY = 256 };

void joiner_begin(joiner *j, qc_job *job, const pair_map *pairs)
{
    *j = (joiner){.job = job, .pairs = pairs};
}

/* A larger array in scratch with what the old one holds; NULL after failing. */
static void *enlarge(qc_job *job, const void *old, size_t n, size_t capacity, size_t size)
{
    void *p = capacity <= SIZE_MAX / size ? job->scratch(job, capacity * size) : NULL;
    if (!p)
        qc_fail(job, QC_E_NOMEM, "out of memory for a text of %zu symbols", n);
    else if (n > 0)
        memcpy(p, old, n * size);
    return p;
}

static qc_status reserve(joiner *j)
{
    size_t capacity = j->capacity ? 2 * j->capacity : FIRST_CAPACITY;
    symbol *symbols = (symbol *)enlarge(j->job, j->symbols, j->n, capacity, sizeof *symbols);
    if (!symbols)
        return QC_E_NOMEM;
    j->symbols = symbols;
    j->capacity = capacity;
    return QC_OK;
}

qc_status joiner_add(joiner *j, uint32_t id, uint32_t at)
{
    if (j->n == j->capacity && reserve(j) != QC_OK)
        return QC_E_NOMEM;
    uint32_t i = (uint32_t)j->n++;
    j->symbols[i] = (symbol){id, at, i == 0 ? LAST_SYMBOL : i - 1, LAST_SYMBOL};
    if (i > 0)
        j->symbols[i - 1].next = i;
    return QC_OK;
}

/* ---- the heap ---- */

static void push(joiner *j, uint64_t item)
{
    size_t at = j->n_queued++;
    for (; at > 0 && j->queue[(at - 1) / 2] > item; at = (at - 1) / 2)
        j->queue[at] = j->queue[(at - 1) / 2];
    j->queue[at] = item;
}

static uint64_t pop(joiner *j)
{
    uint64_t top = j->queue[0], last = j->queue[--j->n_queued];
    size_t at = 0, child;
    while ((child = 2 * at + 1) < j->n_queued) {
        if (child + 1 < j->n_queued && j->queue[child + 1] < j->queue[child])
            child++;
        if (j->queue[child] >= last)
            break;
        j->queue[at] = j->queue[child];
        at = child;
    }
    j->queue[at] = last;
    return top;
}

/* ---- joining ---- */

/* What symbol i and the one after it join into, or NULL. */
static const pair *find_pair(const joiner *j, uint32_t i)
{
    if (i == LAST_SYMBOL || j->symbols[i].next == LAST_SYMBOL)
        return NULL;
    return pair_map_find(j->pairs, j->symbols[i].id, j->symbols[j->symbols[i].next].id);
}

static void consider(joiner *j, uint32_t i)
{
    const pair *p = find_pair(j, i);
    if (p)
        push(j, (uint64_t)p->rank << 32 | i);
}

/* Symbol i takes over the one after it, which then no longer is anybody's neighbour. */
static void join(joiner *j, uint32_t i, uint32_t result)
{
    symbol *s = &j->symbols[i];
    symbol *gone = &j->symbols[s->next];
    s->id = result;
    s->next = gone->next;
    if (s->next != LAST_SYMBOL)
        j->symbols[s->next].previous = i;
    gone->next = gone->previous = LAST_SYMBOL;
    consider(j, s->previous);
    consider(j, i);
}

/* Each join takes one item out of the queue and puts at most two in, so it never holds more than twice the symbols. */
static qc_status reserve_queue(joiner *j)
{
    if (j->queue_capacity >= 2 * j->n)
        return QC_OK;
    j->queue = (uint64_t *)enlarge(j->job, NULL, 0, 2 * j->capacity, sizeof *j->queue);
    j->queue_capacity = j->queue ? 2 * j->capacity : 0;
    return j->queue ? QC_OK : QC_E_NOMEM;
}

/* Items are never taken back: one whose pair is gone finds another rank there, or none. (Where it finds its own rank,
 * the pair there now is just as good a reason.) */
qc_status joiner_run(joiner *j)
{
    if (reserve_queue(j) != QC_OK)
        return QC_E_NOMEM;
    j->n_queued = 0;
    for (uint32_t i = 0; i + 1 < j->n; i++)
        consider(j, i);
    while (j->n_queued > 0) {
        uint64_t item = pop(j);
        uint32_t i = (uint32_t)item;
        const pair *p = find_pair(j, i);
        if (p && p->rank == item >> 32)
            join(j, i, p->result);
    }
    return QC_OK;
}
