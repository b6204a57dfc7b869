/* YAML as trees: where nodes were written, what is refused, and how far a hostile file gets. */
#include "core/text.h"
#include "core/yaml.h"
#include "scratch_folder.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static yaml_node *parse(scratch_folder *s, const char *text)
{
    yaml_node *root;
    if (yaml_parse(s->job, "t", text, strlen(text), &root) != QC_OK)
        fail_msg("%s", job_message(s->job));
    return root;
}

static void expect_refusal(scratch_folder *s, const char *text, const char *message)
{
    yaml_node *root;
    assert_int_not_equal(yaml_parse(s->job, "t", text, strlen(text), &root), QC_OK);
    assert_null(root);
    assert_string_equal(job_message(s->job), message);
    job_clear(s->job);
}

static void expect_place(place at, unsigned line, unsigned column)
{
    assert_string_equal(at.file, "t");
    assert_int_equal(at.line, line);
    assert_int_equal(at.column, column);
}

static void test_places(void **state)
{
    yaml_node *root = parse(*state, "a: 1\nb:\n  - x\n  - {c: 'y'}\n");
    const yaml_node *list = yaml_get(root, "b");
    assert_int_equal(root->kind, YAML_MAP);
    assert_int_equal(root->n, 2);
    expect_place(root->key_places[1], 2, 1);
    expect_place(yaml_get(root, "a")->at, 1, 4);
    assert_int_equal(list->kind, YAML_LIST);
    assert_int_equal(list->n, 2);
    expect_place(list->items[0]->at, 3, 5);
    const yaml_node *quoted = yaml_get(list->items[1], "c");
    expect_place(quoted->at, 4, 9);
    assert_string_equal(quoted->text, "y");
    assert_true(quoted->quoted);
    assert_false(list->items[0]->quoted);
    assert_null(yaml_get(root, "c"));
    assert_null(yaml_get(list, "c"));
    yaml_node_free(root);
}

static void test_nothing_is_an_empty_map(void **state)
{
    static const char *const texts[] = {"", "\n\n", "# only words\n", "---\n..."};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        yaml_node *root = parse(*state, texts[i]);
        assert_true(root->kind == YAML_MAP || (root->kind == YAML_TEXT && !*root->text));
        assert_int_equal(root->n, 0);
        yaml_node_free(root);
    }
}

static void test_json_is_yaml(void **state)
{
    yaml_node *root = parse(*state, "{\"a\": [1, \"\\u00e9\"]}\n");
    assert_string_equal(yaml_get(root, "a")->items[1]->text, "\xc3\xa9");
    yaml_node_free(root);
}

static void test_refusals(void **state)
{
    expect_refusal(*state, "a: 1\na: 2\n", "t:2:1: key 'a' occurs twice");
    expect_refusal(*state, "a: &x 1\n", "t:1:4: anchors (&name) are not supported");
    expect_refusal(*state, "a: &x [1]\n", "t:1:4: anchors (&name) are not supported");
    expect_refusal(*state, "a: *x\n", "t:1:4: aliases (*name) are not supported: write it out");
    expect_refusal(*state, "a: !!str 1\n", "t:1:4: tags (!name) are not supported");
    expect_refusal(*state, "[a, b]: 1\n", "t:1:1: a key must be a plain word");
    expect_refusal(*state, "a: 1\n---\nb: 2\n", "t:2:1: a second document in one file");
    expect_refusal(*state, "a: \"\\0\"\n", "t:1:4: a zero byte in a text");
    expect_refusal(*state, "\"a\\0b\": 1\n", "t:1:1: a zero byte in a key");
    expect_refusal(*state, "a: {b: 1", "t:2:1: did not find expected ',' or '}'");
    expect_refusal(*state, "a:\n\t- 1\n", "t:2:1: found character that cannot start any token");
    expect_refusal(*state, "a: \xff\n", "t:1:1: invalid leading UTF-8 octet");
    expect_refusal(*state, "a: \xc3(\n", "t:1:1: invalid trailing UTF-8 octet");
    expect_refusal(*state, "a: \x01\n", "t:1:1: control characters are not allowed");
}

static void test_bounds(void **state)
{
    scratch_folder *s = *state;
    yaml_node *root;
    char *text = calloc(1, 3 * YAML_MAX_NODES + 8);
    assert_non_null(text);
    memset(text, '[', 100000);
    assert_int_equal(yaml_parse(s->job, "t", text, 100000, &root), QC_E_LIMIT);
    job_clear(s->job);
    text[0] = '[';
    for (size_t i = 0; i < YAML_MAX_NODES + 1; i++)
        memcpy(text + 1 + 2 * i, "a,", 2);
    assert_int_equal(yaml_parse(s->job, "t", text, 2 * YAML_MAX_NODES + 3, &root), QC_E_LIMIT);
    free(text);
}

static void test_put_replaces(void **state)
{
    scratch_folder *s = *state;
    yaml_node *map = parse(s, "a: 1\n");
    const place at = {"set", 0, 0};
    for (size_t i = 0; i < 40; i++) {
        char key[8];
        snprintf(key, sizeof key, "k%zu", i % 20);
        assert_int_equal(yaml_put(s->job, map, key, at, yaml_new(s->job, YAML_LIST, at)), QC_OK);
    }
    assert_int_equal(map->n, 21);
    assert_int_equal(yaml_put(s->job, map, "a", at, yaml_new(s->job, YAML_MAP, at)), QC_OK);
    assert_int_equal(yaml_get(map, "a")->kind, YAML_MAP);
    assert_string_equal(map->key_places[0].file, "set");
    yaml_node_free(map);
}

static void test_numbers(void **state)
{
    (void)state;
    uint64_t n = 0;
    int truth = 0;
    double d = 0;
    assert_true(text_to_count("18446744073709551615", &n) && n == UINT64_MAX);
    assert_false(text_to_count("18446744073709551616", &n));
    assert_false(text_to_count("", &n) || text_to_count("-1", &n) || text_to_count("1.0", &n) ||
                 text_to_count("0x1", &n));
    assert_true(text_to_bytes("67108864", &n) && n == 64u << 20);
    assert_true(text_to_bytes("64MiB", &n) && n == 64u << 20);
    assert_true(text_to_bytes("1.5 GB", &n) && n == 1500000000u);
    assert_false(text_to_bytes("64 mb", &n) || text_to_bytes("MiB", &n) || text_to_bytes("1e3MiB", &n));
    assert_false(text_to_bytes("99999999999TiB", &n) || text_to_bytes("1.2.3MiB", &n) || text_to_bytes("-1", &n));
    assert_true(text_to_double("-1.5e3", &d) && d == -1500);
    assert_false(text_to_double("inf", &d) || text_to_double("nan", &d) || text_to_double("0x10", &d));
    assert_false(text_to_double("1e999", &d) || text_to_double(".", &d) || text_to_double("", &d));
    assert_true(text_to_bool("yes", &truth) && truth);
    assert_true(text_to_bool("false", &truth) && !truth);
    assert_false(text_to_bool("1", &truth) || text_to_bool("", &truth));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_begin, scratch_end)
    const struct CMUnitTest tests[] = {
        TEST(test_places),       TEST(test_nothing_is_an_empty_map),
        TEST(test_json_is_yaml), TEST(test_refusals),
        TEST(test_bounds),       TEST(test_put_replaces),
        TEST(test_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
