/* JSON as it leaves the program, read back by jansson. */
#include "core/jsonout.h"
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void everything_reads_back(void **state)
{
    char *text = NULL;
    size_t n = 0;
    json_out j = {.file = open_memstream(&text, &n)};
    (void)state;
    put_json_object(&j, NULL);
    put_json_text(&j, "quote\"d", "a\\b\n\x01 \xc3\xa9 \xff \xed\xa0\x80 \xf0\x9f\x99\x82");
    put_json_text(&j, "nothing", NULL);
    put_json_count(&j, "count", UINT64_C(9007199254740993));
    put_json_number(&j, "number", 0.5);
    put_json_number(&j, "third", 1.0 / 3.0);
    put_json_number(&j, "nan", strtod("nan", NULL));
    put_json_bool(&j, "yes", 1);
    put_json_list(&j, "list");
    put_json_list(&j, NULL);
    put_json_end_list(&j);
    put_json_count(&j, NULL, 2);
    put_json_end_list(&j);
    put_json_end_object(&j);
    fclose(j.file);
    json_error_t error;
    json_t *root = json_loads(text, 0, &error);
    assert_non_null(root);
    assert_string_equal(json_string_value(json_object_get(root, "quote\"d")),
                        "a\\b\n\x01 \xc3\xa9 \xef\xbf\xbd \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd \xf0\x9f\x99\x82");
    assert_true(json_is_null(json_object_get(root, "nothing")));
    assert_true(json_is_null(json_object_get(root, "nan")));
    assert_true(json_integer_value(json_object_get(root, "count")) == 9007199254740993);
    assert_true(json_is_true(json_object_get(root, "yes")));
    assert_true(json_real_value(json_object_get(root, "third")) == 1.0 / 3.0); /* to the last bit */
    assert_int_equal(json_array_size(json_object_get(root, "list")), 2);
    assert_int_equal(json_object_size(root), 8);
    json_decref(root);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(everything_reads_back)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
