/* The bar fits its terminal and says what it should. */
#include "core/progress.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const progress_unit bytes = {NULL, 1}, tokens = {"tokens", 10};

static void every_width_fits(void **state)
{
    char line[256];
    (void)state;
    for (unsigned width = 0; width < 200; width++)
        for (uint64_t done = 0; done <= 100; done += 25) {
            progress_bar(line, sizeof line, width, "blk.31.ffn_down_exps.weight", done, 100, 12.5, &bytes);
            assert_true(strlen(line) <= width);
        }
}

static void figures_are_right(void **state)
{
    char line[256];
    (void)state;
    progress_bar(line, sizeof line, 120, "output.weight", 250000000, 1000000000, 10, &bytes);
    assert_non_null(strstr(line, " 25 %"));
    assert_non_null(strstr(line, "25.0 MB/s"));
    assert_non_null(strstr(line, "ETA 0:30"));
    assert_non_null(strstr(line, "output.weight"));
    progress_bar(line, sizeof line, 120, "x", 0, 0, 0, &bytes);
    assert_non_null(strstr(line, "100 %"));
    progress_bar(line, sizeof line, 120, "x", 5, 4, 1, &bytes);
    assert_non_null(strstr(line, "100 %"));
    progress_bar(line, sizeof line, 120, "block 3", 2500, 10000, 1, &tokens);
    assert_non_null(strstr(line, " 250 tokens/s"));
    progress_bar(line, sizeof line, 79, "calibration: block 31", 2500, 10000, 1, &tokens); /* of a usual terminal */
    assert_non_null(strstr(line, "calibration: block 31"));
}

static void nothing_is_needed_of_none(void **state)
{
    (void)state;
    progress_step(NULL, "x", 1);
    progress_free(NULL);
    assert_true(progress_seconds(NULL) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_width_fits),
        cmocka_unit_test(figures_are_right),
        cmocka_unit_test(nothing_is_needed_of_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
