/* Sequences to be run and the rows that are wanted of them. */
#include "core/asked.h"
#include "scratch_folder.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void rows_are_counted_through(void **state)
{
    scratch_folder *s = *state;
    const uint32_t tokens[] = {5, 6, 7, 8, 9};
    asked a = {0};
    assert_int_equal(asked_tokens(&a), 0);
    assert_int_equal(asked_add(&a, s->job, tokens, 5, 2, 4), QC_OK); /* a window: its last position is not scored */
    assert_int_equal(asked_add(&a, s->job, tokens, 3, 1, 1), QC_OK); /* nothing of it */
    assert_int_equal(asked_add(&a, s->job, tokens + 1, 2, 1, 2), QC_OK); /* what comes after it */
    assert_int_equal(a.sequences.n, 3);
    assert_int_equal(asked_tokens(&a), 10);
    assert_int_equal(a.n_rows, 3);
    assert_true(a.rows[0] == 2 && a.rows[1] == 3 && a.rows[2] == 9);
    assert_true(a.next[0] == 8 && a.next[1] == 9 && a.next[2] == QC_NO_TOKEN);
    assert_true(a.first_row[0] == 0 && a.first_row[1] == 2 && a.first_row[2] == 2 && a.first_row[3] == 3);
    assert_true(asked_sequence(&a, 1) == 0 && asked_sequence(&a, 2) == 2);
    asked_free(&a);
}

static void positions_beyond_the_end_are_refused(void **state)
{
    scratch_folder *s = *state;
    const uint32_t tokens[] = {1, 2};
    asked a = {0};
    assert_int_equal(asked_add(&a, s->job, tokens, 2, 0, 3), QC_E_INTERNAL);
    assert_int_equal(asked_add(&a, s->job, tokens, 2, 2, 1), QC_E_INTERNAL);
    assert_int_equal(asked_add(&a, s->job, tokens, 0, 0, 0), QC_E_INTERNAL);
    asked_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(rows_are_counted_through, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(positions_beyond_the_end_are_refused, scratch_begin, scratch_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
