/* Selectors: which of n things. Written out as strings, one character a thing. */
#include "core/selector.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void expect(const char *text, const char *hits)
{
    selector s;
    if (!selector_parse(text, &s))
        fail_msg("'%s' is no selector", text);
    for (size_t i = 0; hits[i]; i++)
        if (selector_hits(&s, i, strlen(hits)) != (hits[i] == 'x'))
            fail_msg("'%s': wrong at %zu of %zu", text, i, strlen(hits));
}

static void test_numbers(void **state)
{
    (void)state;
    expect("0", "x...");
    expect("3", "...x");
    expect("9", "....");
    expect("1-2", ".xx.");
    expect("2-99", "..xx");
    expect("first_2", "xx..");
    expect("last_1", "...x");
    expect("last_9", "xxxx");
    expect("first_0", "....");
}

/* Parts are rounded down, as llama-quantize does: of 20 blocks the first eighth has 2, the last 3. */
static void test_parts(void **state)
{
    (void)state;
    expect("first_eighth", "xx..................");
    expect("last_eighth", ".................xxx");
    expect("middle", "..xxxxxxxxxxxxxxx...");
    expect("every_third", "....x..x..x..x..x..x");
    expect("first_half", "xx...");
    expect("last_third", "....xx");
    expect("first_quarter", "x....");
    expect("first_sixteenth", "x...............");
    expect("first_eighth", ".......");
    expect("last_eighth", "......x");
}

static void test_what_is_none(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        "-",
                                        "-1",
                                        "1-",
                                        "3-1",
                                        "1-2-3",
                                        "first",
                                        "first_",
                                        "first_-1",
                                        "last_x",
                                        "every_fourth",
                                        "middle_2",
                                        "first_ninth",
                                        "0x1",
                                        " 1",
                                        "1 ",
                                        "1,2",
                                        "18446744073709551616"};
    selector s;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (selector_parse(texts[i], &s))
            fail_msg("'%s' was taken", texts[i]);
}

/* A file has a say in n. */
static void test_extremes(void **state)
{
    (void)state;
    static const char *const texts[] = {"first_18446744073709551615",
                                        "last_18446744073709551615",
                                        "0-18446744073709551615",
                                        "first_eighth",
                                        "last_eighth",
                                        "middle",
                                        "every_third"};
    selector s;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_true(selector_parse(texts[i], &s));
        selector_hits(&s, 0, 0);
        selector_hits(&s, UINT64_MAX, UINT64_MAX);
        selector_hits(&s, UINT64_MAX - 1, UINT64_MAX);
    }
    assert_true(selector_parse("last_18446744073709551615", &s));
    assert_true(selector_hits(&s, 5, 10));
    assert_true(selector_parse("last_eighth", &s));
    assert_true(selector_hits(&s, UINT64_MAX - 1, UINT64_MAX));
    assert_false(selector_hits(&s, UINT64_MAX / 2, UINT64_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_numbers), cmocka_unit_test(test_parts),
                                       cmocka_unit_test(test_what_is_none), cmocka_unit_test(test_extremes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
