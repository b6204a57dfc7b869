/* Jobs and the pool: results, seeds and errors are the same for any number of threads; scratch is a stack. */
#include "core/host.h"
#include "core/job.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#undef fail /* a member of qc_job has the name */

enum { N = 1000, CHUNK = 7 };

typedef struct fixture {
    qc_host *host;
    pool *pool;
    qc_job *job;
} fixture;

static fixture begin(unsigned n_threads)
{
    fixture f = {.host = host_new()};
    assert_non_null(f.host);
    f.pool = pool_new(f.host, n_threads);
    assert_non_null(f.pool);
    f.job = pool_job(f.pool);
    return f;
}

static void end(fixture *f)
{
    pool_free(f->pool);
    host_free(f->host);
}

/* ---- parallel_for ---- */

static qc_status note_piece(void *arg, qc_job *job, size_t first, size_t last)
{
    uint64_t *seeds = arg;
    assert_true(last <= N && first % CHUNK == 0 && (last - first == CHUNK || last == N));
    for (size_t i = first; i < last; i++)
        seeds[i] = job->seed + i;
    return QC_OK;
}

static void seeds_hang_on_pieces_not_threads(void **state)
{
    uint64_t expected[N], seeds[N];
    (void)state;
    for (unsigned n_threads = 1; n_threads <= 5; n_threads++) {
        fixture f = begin(n_threads);
        assert_int_equal(pool_threads(f.pool), n_threads);
        memset(seeds, 0, sizeof seeds);
        f.job->seed = 42;
        assert_int_equal(f.job->parallel_for(f.job, N, CHUNK, note_piece, seeds), QC_OK);
        assert_true(f.job->seed == 42);
        if (n_threads == 1)
            memcpy(expected, seeds, sizeof seeds);
        assert_memory_equal(seeds, expected, sizeof seeds);
        end(&f);
    }
    assert_true(expected[0] != expected[CHUNK] - CHUNK);
}

/* Pieces 50, 51, ... fail, the later ones sooner. */
static qc_status fail_late(void *arg, qc_job *job, size_t first, size_t last)
{
    unsigned char *ran = arg;
    volatile unsigned work = first < 60 ? 20000 : 0;
    while (work)
        work--;
    memset(ran + first, 1, last - first);
    if (first >= 50)
        return qc_fail(job, QC_E_NUMERIC, "item %zu is bad", first);
    return QC_OK;
}

static void the_lowest_failure_wins(void **state)
{
    (void)state;
    for (unsigned n_threads = 1; n_threads <= 4; n_threads++)
        for (int round = 0; round < 20; round++) {
            unsigned char ran[N] = {0};
            fixture f = begin(n_threads);
            assert_int_equal(f.job->parallel_for(f.job, N, 1, fail_late, ran), QC_E_NUMERIC);
            assert_string_equal(job_message(f.job), "item 50 is bad");
            for (size_t i = 0; i <= 50; i++)
                assert_int_equal(ran[i], 1);
            assert_true(n_threads > 1 || !ran[51]);
            job_clear(f.job);
            assert_string_equal(job_message(f.job), "");
            assert_int_equal(f.job->parallel_for(f.job, 50, 1, fail_late, ran), QC_OK);
            end(&f);
        }
}

static void an_earlier_failure_stays_the_first(void **state)
{
    unsigned char ran[N] = {0};
    fixture f = begin(3);
    (void)state;
    f.job->fail(f.job, QC_E_IO, "first");
    assert_int_equal(f.job->parallel_for(f.job, N, 1, fail_late, ran), QC_E_NUMERIC);
    assert_string_equal(job_message(f.job), "first");
    end(&f);
}

static qc_status fail_silently(void *arg, qc_job *job, size_t first, size_t last)
{
    (void)arg;
    (void)job;
    return first < 3 && last >= 3 ? QC_E_CORRUPT : QC_OK;
}

static void a_silent_failure_still_has_a_message(void **state)
{
    fixture f = begin(2);
    (void)state;
    assert_int_equal(f.job->parallel_for(f.job, 9, 3, fail_silently, NULL), QC_E_CORRUPT);
    assert_string_equal(job_message(f.job), "failed with status -5 and no message");
    end(&f);
}

static qc_status nested_inner(void *arg, qc_job *job, size_t first, size_t last)
{
    unsigned *sums = arg;
    assert_true(job->worker < 4);
    for (size_t i = first; i < last; i++)
        sums[i]++;
    return QC_OK;
}

static qc_status nested_outer(void *arg, qc_job *job, size_t first, size_t last)
{
    unsigned *sums = arg;
    for (size_t i = first; i < last; i++) {
        qc_status status = job->parallel_for(job, 10, 3, nested_inner, sums + i * 10);
        if (status != QC_OK)
            return status;
    }
    return QC_OK;
}

static void nesting_runs_inline(void **state)
{
    unsigned sums[N] = {0};
    fixture f = begin(4);
    (void)state;
    assert_int_equal(f.job->parallel_for(f.job, N / 10, 3, nested_outer, sums), QC_OK);
    for (size_t i = 0; i < N; i++)
        assert_int_equal(sums[i], 1);
    end(&f);
}

static void odd_calls(void **state)
{
    fixture f = begin(2);
    (void)state;
    assert_int_equal(f.job->parallel_for(f.job, 0, 5, fail_silently, NULL), QC_OK);
    assert_int_equal(f.job->parallel_for(f.job, 5, 0, fail_silently, NULL), QC_E_INTERNAL);
    assert_int_equal(f.job->fail(f.job, QC_OK, "no failure"), QC_E_INTERNAL);
    end(&f);
}

/* ---- messages ---- */

static void messages_are_one_line(void **state)
{
    char text[5000];
    fixture f = begin(1);
    (void)state;
    f.job->fail(f.job, QC_E_CORRUPT, "a\nb\x1b[31m");
    f.job->fail(f.job, QC_E_IO, "second");
    job_add_context(f.job, "file %s", "x\ny");
    assert_string_equal(job_message(f.job), "file x?y: a?b?[31m");
    job_clear(f.job);
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = 0;
    f.job->fail(f.job, QC_E_IO, text);
    for (int i = 0; i < 3; i++)
        job_add_context(f.job, "%.1000s", text);
    assert_true(strlen(job_message(f.job)) < 2048);
    end(&f);
}

/* ---- scratch ---- */

static void scratch_is_a_stack(void **state)
{
    fixture f = begin(1);
    (void)state;
    unsigned char *first = f.job->scratch(f.job, 100);
    memset(first, 1, 100);
    size_t mark = job_mark(f.job);
    for (size_t bytes = 1; bytes < 3000000; bytes = bytes * 3 + 1) {
        unsigned char *p = f.job->scratch(f.job, bytes);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 64, 0);
        memset(p, 2, bytes);
    }
    unsigned char *next = NULL;
    for (int round = 0; round < 3; round++) {
        job_release(f.job, mark);
        assert_true(job_mark(f.job) == mark);
        unsigned char *p = f.job->scratch(f.job, 64);
        assert_true(!next || p == next); /* the same place: nothing is lost */
        next = p;
    }
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(first[i], 1);
    assert_non_null(f.job->scratch(f.job, 0));
    assert_null(f.job->scratch(f.job, SIZE_MAX - 8));
    end(&f);
}

/* Marks within marks over block borders, against a model of what must still be there. */
static void marks_nest(void **state)
{
    enum { DEPTH = 200 };
    unsigned char *pieces[DEPTH];
    size_t marks[DEPTH], depth = 0, size = 9001;
    uint64_t random = 1;
    fixture f = begin(1);
    (void)state;
    for (int step = 0; step < 4000; step++) {
        random = random * UINT64_C(6364136223846793005) + 1;
        if (depth < DEPTH && random >> 63) {
            marks[depth] = job_mark(f.job);
            pieces[depth] = f.job->scratch(f.job, size);
            assert_non_null(pieces[depth]);
            memset(pieces[depth], (int)depth, size);
            depth++;
        } else if (depth > 0) {
            size_t to = depth - 1 - (size_t)(random >> 40) % depth % 3;
            for (size_t i = to; i < depth; i++)
                assert_true(pieces[i][0] == (unsigned char)i && pieces[i][size - 1] == (unsigned char)i);
            depth = to;
            job_release(f.job, marks[depth]);
            assert_true(job_mark(f.job) == marks[depth]);
        }
    }
    end(&f);
}

static qc_status use_scratch(void *arg, qc_job *job, size_t first, size_t last)
{
    (void)arg;
    size_t mark = job_mark(job);
    unsigned char *p = job->scratch(job, 1000 * (first % 50 + 1));
    assert_non_null(p);
    memset(p, 7, 1000 * (first % 50 + 1));
    return last > first && mark <= 1024 ? QC_OK
                                        : qc_fail(job, QC_E_INTERNAL, "scratch of the piece before is still there");
}

static void pieces_give_scratch_back(void **state)
{
    fixture f = begin(3);
    (void)state;
    f.job->scratch(f.job, 1024);
    assert_int_equal(f.job->parallel_for(f.job, N, 1, use_scratch, NULL), QC_OK);
    assert_true(job_mark(f.job) == 1024);
    job_clear(f.job);
    assert_true(job_mark(f.job) == 0);
    end(&f);
}

/* ---- cancelling and progress; last, for there is no way back ---- */

static void count_progress(void *arg, const char *what, uint64_t done, uint64_t total)
{
    assert_string_equal(what, "blk.0");
    assert_true(done == 3 && total == 4);
    ++*(int *)arg;
}

static void progress_reaches_the_program(void **state)
{
    int calls = 0;
    fixture f = begin(1);
    (void)state;
    assert_int_equal(f.job->progress(f.job, 3, 4), QC_OK);
    pool_set_progress(f.pool, count_progress, &calls);
    job_set_task(f.job, "blk.0");
    assert_int_equal(f.job->progress(f.job, 3, 4), QC_OK);
    assert_int_equal(calls, 1);
    end(&f);
}

static qc_status cancel_at_100(void *arg, qc_job *job, size_t first, size_t last)
{
    (void)arg;
    (void)job;
    if (first <= 100 && 100 < last)
        job_cancel_all();
    assert_true(first < N - CHUNK);
    return QC_OK;
}

static void cancelling_ends_everything(void **state)
{
    fixture f = begin(2);
    (void)state;
    assert_false(job_cancelled());
    assert_int_equal(f.job->parallel_for(f.job, 1000 * N, CHUNK, cancel_at_100, NULL), QC_E_CANCELLED);
    assert_string_equal(job_message(f.job), "interrupted");
    assert_int_equal(f.job->progress(f.job, 1, 2), QC_E_CANCELLED);
    assert_true(job_cancelled());
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seeds_hang_on_pieces_not_threads),
        cmocka_unit_test(the_lowest_failure_wins),
        cmocka_unit_test(an_earlier_failure_stays_the_first),
        cmocka_unit_test(a_silent_failure_still_has_a_message),
        cmocka_unit_test(nesting_runs_inline),
        cmocka_unit_test(odd_calls),
        cmocka_unit_test(messages_are_one_line),
        cmocka_unit_test(scratch_is_a_stack),
        cmocka_unit_test(marks_nest),
        cmocka_unit_test(pieces_give_scratch_back),
        cmocka_unit_test(progress_reaches_the_program),
        cmocka_unit_test(cancelling_ends_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
