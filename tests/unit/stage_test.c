/* What a method prepares is made once for an input, a shape of encoding and whether an order is kept, and is there for
 * just those chunks that share it. Chunks themselves are a stand-in here. */
#include "core/chunk.h"
#include "core/statistics_impl.h"
#include "scratch_folder.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { COLS = 64, ROWS = 7, CHUNK_ROWS = 3, CHUNKS = 3, WEIGHT = 100 };
enum { PLAIN, QUERY, DOWN, KEY, VALUE, ORDERED, ITEMS }; /* query to value, and ordered, read one input */
enum { PREPARATIONS = 4 };

static const char *const names[ITEMS] = {"plain", "query", "down", "key", "value", "ordered"};

typedef struct prepared {
    const qc_input *input;
    uint32_t block_cols;
    int ordered;
} prepared;

typedef struct fixture {
    pipeline pipeline;
    opened_method method;
    plugin_use use;
    qc_method_desc desc;
    qc_encoding_desc narrow, wide;
    model_tensor tensors[ITEMS];
    plan_item items[ITEMS];
    work works[ITEMS];
    item_result results[ITEMS], sums[ITEMS * CHUNKS];
    linear_result linears[ITEMS];
    uint32_t order[COLS];
    statistics *statistics;
} fixture;

static atomic_int n_prepared, n_alive, most_alive, n_chunks[ITEMS], n_wrong;
static const char *refuse; /* the item whose preparation fails */
static int broken_order, broken_chunk;
static const fixture *running;

/* ---- stand-ins for chunk.c ---- */

int is_transcoded(const work *w)
{
    (void)w;
    return 0;
}

int is_rounded(const work *w)
{
    return has_grid(w);
}

static int has_its_own(const portion *o)
{
    const prepared *p = o->prepared ? o->prepared->prepared : NULL;
    if (o->work->index == PLAIN)
        return p == NULL && !o->input;
    return p && p->input == o->input && p->block_cols == o->work->to.block_cols &&
           p->ordered == (o->work->order != NULL);
}

qc_status chunk_run(const pipeline *p, qc_job *job, const chunk *c)
{
    size_t item = c->work->index;
    (void)p;
    atomic_fetch_add(&n_wrong, !has_its_own(c->portion));
    atomic_fetch_add(&n_chunks[item], 1);
    c->sums->energy = (double)c->n_rows;
    if (item == ORDERED && running->order[0] != COLS - 1)
        return qc_fail(job, QC_E_INTERNAL, "the order is not there yet");
    return broken_chunk && item == KEY ? qc_fail(job, QC_E_NUMERIC, "a chunk failed") : QC_OK;
}

/* ---- a method ---- */

static qc_status prepare(qc_job *job, const void *state, const qc_input *input, const qc_encoding_desc *shape,
                         uint32_t *order, void **out)
{
    (void)state;
    if (refuse && input == statistics_input(running->statistics, refuse, 0))
        return qc_fail(job, QC_E_NUMERIC, "not positive definite");
    prepared *p = malloc(sizeof *p);
    assert_non_null(p);
    *p = (prepared){input, shape->block_cols, order != NULL};
    for (uint32_t i = 0; order && i < COLS; i++)
        order[i] = broken_order ? 0 : COLS - 1 - i;
    *out = p;
    qc_tell_figure(job, "damping", 0.5);
    atomic_fetch_add(&n_prepared, 1);
    int alive = atomic_fetch_add(&n_alive, 1) + 1;
    if (alive > most_alive)
        most_alive = alive;
    return QC_OK;
}

static void release(const qc_host *host, void *p)
{
    (void)host;
    free(p);
    atomic_fetch_sub(&n_alive, 1);
}

static uint64_t memory(const void *state, size_t cols)
{
    (void)state, (void)cols;
    return WEIGHT;
}

/* ---- the fixture ---- */

static void add_statistics(fixture *f, qc_job *job, size_t first, size_t n, const size_t *readers)
{
    size_t index;
    assert_int_equal(statistics_add_record(f->statistics, job, names[first], COLS, 1, &index), QC_OK);
    f->statistics->records[index].counts[0] = 1;
    assert_int_equal(statistics_finish(job, names[first], &f->statistics->records[index]), QC_OK);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(statistics_add_name(f->statistics, job, names[readers[i]], index), QC_OK);
}

static void make_work(fixture *f, size_t i)
{
    const qc_encoding_desc *desc = i == VALUE ? &f->wide : &f->narrow;
    f->tensors[i] = (model_tensor){.name = (char *)(uintptr_t)names[i], .n_rows = ROWS, .dims = {COLS, ROWS, 1, 1}};
    f->items[i] = (plan_item){.tensor = &f->tensors[i]};
    f->works[i] = (work){.item = &f->items[i],
                         .index = i,
                         .view = &f->tensors[i],
                         .from = {.cols = COLS},
                         .to = {.cols = COLS, .desc = desc, .block_cols = desc->block_cols},
                         .order = i == ORDERED ? f->order : NULL,
                         .rows = CHUNK_ROWS,
                         .chunks_each = CHUNKS,
                         .n_matrices = 1,
                         .first_chunk = i * CHUNKS,
                         .first_matrix = i};
}

static void fixture_begin(fixture *f, scratch_folder *s)
{
    *f = (fixture){.narrow = {.block_cols = 32, .sub_cols = 32},
                   .wide = {.block_cols = 64, .sub_cols = 32},
                   .use = {.at = {.file = "recipe.yaml", .line = 7, .column = 3}},
                   .desc = {.prepare = prepare, .release = release, .memory = memory}};
    f->use.id = (char *)(uintptr_t) "made";
    f->method = (opened_method){.use = &f->use, .desc = &f->desc};
    for (size_t i = 0; i < ITEMS; i++)
        make_work(f, i);
    f->statistics = statistics_new(UINT64_MAX);
    add_statistics(f, s->job, QUERY, 4, (const size_t[]){QUERY, KEY, VALUE, ORDERED});
    add_statistics(f, s->job, DOWN, 1, (const size_t[]){DOWN});
    statistics_sort(f->statistics);
    f->pipeline = (pipeline){.host = s->host,
                             .rounder = &f->method,
                             .works = f->works,
                             .n_works = ITEMS,
                             .results = f->results,
                             .sums = f->sums,
                             .linears = f->linears,
                             .most_prepared = WEIGHT};
    n_prepared = n_alive = most_alive = n_wrong = 0;
    memset(n_chunks, 0, sizeof n_chunks);
    refuse = NULL;
    broken_order = broken_chunk = 0;
    running = f;
}

static qc_status run(fixture *f, unsigned n_threads, qc_host *host, char message[200])
{
    pool *threads = pool_new(host, n_threads);
    qc_job *job = pool_job(threads);
    qc_status status = pipeline_run(&f->pipeline, job, NULL, ITEMS, f->statistics, NULL);
    snprintf(message, 200, "%s", job_message(job));
    pool_free(threads);
    statistics_free(f->statistics);
    return status;
}

static void once_for_all_that_share_it(void **state)
{
    scratch_folder *s = *state;
    fixture f;
    char message[200];
    for (unsigned at_once = 1; at_once <= 2; at_once++) {
        fixture_begin(&f, s);
        f.pipeline.most_prepared = WEIGHT * at_once;
        assert_int_equal(run(&f, 4, s->host, message), QC_OK);
        assert_int_equal(n_prepared, PREPARATIONS);
        assert_int_equal(n_alive, 0);
        assert_int_equal(most_alive, at_once);
        assert_int_equal(n_wrong, 0);
        for (size_t i = 0; i < ITEMS; i++) {
            assert_int_equal(n_chunks[i], CHUNKS);
            assert_true(f.results[i].energy == ROWS);
            assert_int_equal(f.linears[i].n_figures, i != PLAIN);
        }
    }
}

static void a_failure_is_passed_on(void **state)
{
    scratch_folder *s = *state;
    fixture f;
    char message[200];
    fixture_begin(&f, s);
    refuse = names[DOWN];
    assert_int_equal(run(&f, 2, s->host, message), QC_E_NUMERIC);
    assert_string_equal(message, "down: method made: not positive definite (recipe.yaml:7:3)");
    assert_int_equal(n_alive, 0);
    assert_int_equal(n_chunks[DOWN], 0);
}

static void what_a_broken_run_leaves_is_released(void **state)
{
    scratch_folder *s = *state;
    fixture f;
    char message[200];
    fixture_begin(&f, s);
    broken_chunk = 1;
    assert_int_equal(run(&f, 2, s->host, message), QC_E_NUMERIC);
    assert_string_equal(message, "key: a chunk failed");
    assert_int_equal(n_alive, 0);
}

static void an_order_that_is_none_is_refused(void **state)
{
    scratch_folder *s = *state;
    fixture f;
    char message[200];
    fixture_begin(&f, s);
    broken_order = 1;
    assert_int_equal(run(&f, 2, s->host, message), QC_E_INTERNAL);
    assert_non_null(strstr(message, "its column order is none"));
    assert_int_equal(n_alive, 0);
    assert_int_equal(n_chunks[ORDERED], 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_begin, scratch_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(once_for_all_that_share_it),
        TEST(a_failure_is_passed_on),
        TEST(what_a_broken_run_leaves_is_released),
        TEST(an_order_that_is_none_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
