/* What a method prepares is made once a matrix, before its first chunk, and released after its last. */
#include "core/chunk.h"
#include "scratch_folder.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MATRICES = 5, CHUNKS_EACH = 40 };

static atomic_int n_prepared, n_released, n_alive, most_alive;
static int refuse;

static qc_status prepare(qc_job *job, const void *state, const qc_input *input, const qc_encoding_desc *shape,
                         uint32_t *order, void **prepared)
{
    (void)state, (void)input, (void)shape;
    assert_null(order);
    if (refuse)
        return qc_fail(job, QC_E_NUMERIC, "not positive definite");
    *prepared = malloc(1);
    atomic_fetch_add(&n_prepared, 1);
    int alive = atomic_fetch_add(&n_alive, 1) + 1;
    if (alive > atomic_load(&most_alive))
        atomic_store(&most_alive, alive);
    return QC_OK;
}

static void release(const qc_host *host, void *prepared)
{
    (void)host;
    free(prepared);
    atomic_fetch_add(&n_released, 1);
    atomic_fetch_sub(&n_alive, 1);
}

static const qc_method_desc method = {.prepare = prepare, .release = release};

/* One item of MATRICES matrices, CHUNKS_EACH chunks of one row each. */
typedef struct fixture {
    pipeline pipeline;
    work work;
    plan_item item;
    model_tensor view;
    qc_encoding_desc encoding;
} fixture;

static void fixture_begin(fixture *f, scratch_folder *s)
{
    *f = (fixture){.encoding = {.block_cols = 32}};
    f->item.to.desc = &f->encoding;
    f->item.to.block_cols = 32;
    f->work = (work){.item = &f->item, .view = &f->view, .chunks_each = CHUNKS_EACH, .n_matrices = MATRICES};
    f->pipeline = (pipeline){
        .host = s->host, .method = &method, .works = &f->work, .n_works = 1, .n_matrices = MATRICES};
    n_prepared = n_released = n_alive = most_alive = 0;
    refuse = 0;
    assert_int_equal(preparations_new(&f->pipeline, s->job), QC_OK);
}

static qc_status one_chunk(void *arg, qc_job *job, size_t begin, size_t end)
{
    fixture *f = arg;
    (void)end;
    const chunk c = {.work = &f->work, .matrix = begin / CHUNKS_EACH};
    const void *prepared = NULL;
    qc_status status = preparation_take(&f->pipeline, job, &c, NULL, &prepared);
    if (status != QC_OK)
        return status;
    preparation_done(&f->pipeline, &c);
    return prepared ? QC_OK : QC_E_INTERNAL;
}

static void once_a_matrix_with_many_threads(void **state)
{
    scratch_folder *s = *state;
    fixture f;
    pool *threads = pool_new(s->host, 4);
    qc_job *job = pool_job(threads);
    fixture_begin(&f, s);
    assert_int_equal(job->parallel_for(job, MATRICES * CHUNKS_EACH, 1, one_chunk, &f), QC_OK);
    assert_int_equal(n_prepared, MATRICES);
    assert_int_equal(n_released, MATRICES);
    preparations_free(&f.pipeline);
    assert_int_equal(n_released, MATRICES);
    pool_free(threads);
}

static void what_a_broken_run_leaves_is_released(void **state)
{
    scratch_folder *s = *state;
    fixture f;
    fixture_begin(&f, s);
    assert_int_equal(one_chunk(&f, s->job, 0, 1), QC_OK);
    assert_int_equal(n_alive, 1);
    preparations_free(&f.pipeline);
    assert_int_equal(n_alive, 0);
}

static void a_failure_is_passed_on(void **state)
{
    scratch_folder *s = *state;
    fixture f;
    fixture_begin(&f, s);
    refuse = 1;
    assert_int_equal(one_chunk(&f, s->job, 0, 1), QC_E_NUMERIC);
    assert_string_equal(job_message(s->job), "not positive definite");
    preparations_free(&f.pipeline);
    assert_int_equal(n_released, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_begin, scratch_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(once_a_matrix_with_many_threads),
        TEST(what_a_broken_run_leaves_is_released),
        TEST(a_failure_is_passed_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
