/* Tables as they leave the program: aligned text that fits a width, Markdown, CSV. */
#include "core/table.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef void (*printer)(const table *t, size_t width, FILE *file);

static void as_markdown(const table *t, size_t width, FILE *file)
{
    (void)width;
    table_print_markdown(t, file);
}

static void as_csv(const table *t, size_t width, FILE *file)
{
    (void)width;
    table_print_csv(t, file);
}

static void check(const table *t, printer print, size_t width, const char *wanted)
{
    char *text = NULL;
    size_t n = 0;
    FILE *file = open_memstream(&text, &n);
    assert_non_null(file);
    print(t, width, file);
    fclose(file);
    assert_string_equal(text, wanted);
    free(text);
}

static table schemes(void)
{
    table t = {.n_columns = 3};
    table_put(&t, "scheme", NULL);
    table_put(&t, "\xce\x94size", NULL);
    table_put(&t, "perplexity", NULL);
    table_put(&t, "original", NULL);
    table_put(&t, "-", NULL);
    table_put(&t, "6.51", "\xc2\xb1 0.03");
    table_put(&t, "Q2_K", NULL);
    table_put(&t, "-80 %", NULL);
    table_put(&t, "12.5", "\xc2\xb1 0.125");
    assert_false(t.failed);
    return t;
}

static void text_is_aligned(void **state)
{
    table t = schemes();
    (void)state;
    check(&t, table_print_text, 0,
          "scheme    Δsize    perplexity\n"
          "original      -  6.51 ± 0.03\n"
          "Q2_K      -80 %  12.5 ± 0.125\n");
    check(&t, table_print_text, 29,
          "scheme    Δsize    perplexity\n"
          "original      -  6.51 ± 0.03\n"
          "Q2_K      -80 %  12.5 ± 0.125\n");
    table_free(&t);
}

static void narrow_text_has_errors_below(void **state)
{
    table t = schemes();
    (void)state;
    check(&t, table_print_text, 28,
          "scheme    Δsize  perplexity\n"
          "original      -        6.51\n"
          "                     ± 0.03\n"
          "Q2_K      -80 %        12.5\n"
          "                    ± 0.125\n");
    table_free(&t);
}

static void narrower_text_has_several_parts(void **state)
{
    table t = schemes();
    (void)state;
    check(&t, table_print_text, 20,
          "scheme    Δsize\n"
          "original      -\n"
          "Q2_K      -80 %\n"
          "\n"
          "scheme    perplexity\n"
          "original        6.51\n"
          "              ± 0.03\n"
          "Q2_K            12.5\n"
          "             ± 0.125\n");
    table_free(&t);
}

static void a_missing_detail_keeps_columns(void **state)
{
    table t = {.n_columns = 3};
    (void)state;
    const char *const cells[] = {"a", "b", "c", "x", "1.25", "9", "y", "2.50", "10"};
    for (size_t i = 0; i < 9; i++)
        table_put(&t, cells[i], i == 4 ? "\xc2\xb1 1" : NULL);
    check(&t, table_print_text, 0,
          "a         b   c\n"
          "x  1.25 ± 1   9\n"
          "y  2.50      10\n");
    table_free(&t);
}

static void markdown_is_escaped(void **state)
{
    table t = schemes(), odd = {.n_columns = 2};
    (void)state;
    check(&t, as_markdown, 0,
          "| scheme   | Δsize |   perplexity |\n"
          "| :------- | ----: | -----------: |\n"
          "| original |     - |  6.51 ± 0.03 |\n"
          "| Q2_K     | -80 % | 12.5 ± 0.125 |\n");
    table_put(&odd, "a|b", NULL);
    table_put(&odd, "x", NULL);
    table_put(&odd, "_c\\d*\n", NULL);
    table_put(&odd, "Q4_K_M", NULL);
    check(&odd, as_markdown, 0,
          "| a\\|b      |      x |\n"
          "| :-------- | -----: |\n"
          "| \\_c\\\\d\\*  | Q4_K_M |\n");
    table_free(&odd);
    table_free(&t);
}

static void csv_is_quoted(void **state)
{
    table t = {.n_columns = 2};
    (void)state;
    table_put(&t, "scheme", NULL);
    table_put(&t, "value", NULL);
    table_put(&t, "my, \"own\".yaml", "\xc2\xb1 1");
    table_put(&t, "1\n2", NULL);
    check(&t, as_csv, 0, "scheme,value\r\n\"my, \"\"own\"\".yaml\",\"1\n2\"\r\n");
    table_free(&t);
}

static void nothing_prints_nothing(void **state)
{
    const table t = {.n_columns = 2};
    (void)state;
    check(&t, table_print_text, 10, "");
    check(&t, as_markdown, 0, "");
    check(&t, as_csv, 0, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_aligned),
        cmocka_unit_test(narrow_text_has_errors_below),
        cmocka_unit_test(narrower_text_has_several_parts),
        cmocka_unit_test(a_missing_detail_keeps_columns),
        cmocka_unit_test(markdown_is_escaped),
        cmocka_unit_test(csv_is_quoted),
        cmocka_unit_test(nothing_prints_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
