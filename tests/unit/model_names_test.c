/* Names of architectures' tables, read both ways, and the order of a GGUF file. */
#include "core/names.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void numbers_are_read(void **state)
{
    name_numbers n;
    (void)state;
    assert_true(name_match("model.layers.{}.mlp.experts.{e}.w1.weight", "model.layers.12.mlp.experts.7.w1.weight", &n));
    assert_int_equal(n.block, 12);
    assert_int_equal(n.expert, 7);
    assert_true(name_match("lm_head.weight", "lm_head.weight", &n));
    assert_true(name_match("a.{}", "a.0", &n));
}

static void what_is_no_number_does_not_match(void **state)
{
    static const char *const names[] = {"a.",   "a.x.b",  "a.01.b",  "a.-1.b",
                                        "a.1.", "a.1.bb", "a.1.b.c", "a.12345678901.b"};
    name_numbers n;
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_false(name_match("a.{}.b", names[i], &n));
}

static void filling_reverses_matching(void **state)
{
    const name_numbers n = {3, 11};
    char out[NAME_BYTES], longest[NAME_BYTES + 8];
    (void)state;
    assert_true(name_fill("blk.{}.x.{e}", n, out));
    assert_string_equal(out, "blk.3.x.11");
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    assert_false(name_fill(longest, n, out));
}

static void blocks_come_in_the_order_of_their_numbers(void **state)
{
    static const char *const order[] = {"output.weight",       "token_embd.weight",   "blk.0.attn_k.weight",
                                        "blk.0.attn_q.weight", "blk.2.attn_k.weight", "blk.10.attn_k.weight"};
    (void)state;
    for (size_t i = 0; i < sizeof order / sizeof *order; i++)
        for (size_t k = 0; k < sizeof order / sizeof *order; k++) {
            int sign = name_compare(order[i], order[k]);
            assert_int_equal((sign > 0) - (sign < 0), (i > k) - (i < k));
        }
    assert_int_equal(name_block("blk.7.x"), 7);
    assert_int_equal(name_block("blk.x"), -1);
    assert_int_equal(name_block("v.blk.3.x"), -1);
}

static void lists_are_cut_at_commas(void **state)
{
    char item[NAME_BYTES];
    (void)state;
    assert_true(list_has("LlamaForCausalLM, MistralForCausalLM", "MistralForCausalLM"));
    assert_false(list_has("LlamaForCausalLM", "Llama"));
    assert_false(list_has(NULL, "x"));
    const char *list = list_next(" a ,, b", item);
    assert_string_equal(item, "a");
    list = list_next(list, item);
    assert_string_equal(item, "b");
    assert_null(list_next(list, item));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_read),          cmocka_unit_test(what_is_no_number_does_not_match),
        cmocka_unit_test(filling_reverses_matching), cmocka_unit_test(blocks_come_in_the_order_of_their_numbers),
        cmocka_unit_test(lists_are_cut_at_commas),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
