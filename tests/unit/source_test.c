/* Files of a folder, opened for reading: bounded, regular, inside the folder. */
#include "core/paths.h"
#include "core/source.h"
#include "scratch_folder.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static const qc_source *open_folder(scratch_folder *s, const char *first)
{
    const qc_source *src;
    assert_int_equal(source_new(s->job, s->path, first, &src), QC_OK);
    return src;
}

static void expect_failure(scratch_folder *s, qc_status status, qc_status wanted, const char *words)
{
    assert_int_equal(status, wanted);
    assert_non_null(strstr(job_message(s->job), words));
    job_clear(s->job);
}

static void bytes_come_back(void **state)
{
    scratch_folder *s = *state;
    char got[4] = "";
    scratch_write(s, "a.bin", "0123456789", 10);
    const qc_source *src = open_folder(s, "a.bin");
    assert_int_equal(src->length(src, 0), 10);
    assert_string_equal(src->name(src, 0), "a.bin");
    assert_int_equal(src->read_at(src, s->job, 0, 7, 3, got), QC_OK);
    assert_memory_equal(got, "789", 3);
    assert_int_equal(src->read_at(src, s->job, 0, 10, 0, got), QC_OK);
    source_free(src);
}

static void ranges_are_checked(void **state)
{
    scratch_folder *s = *state;
    char got[16];
    scratch_write(s, "a.bin", "0123456789", 10);
    const qc_source *src = open_folder(s, "a.bin");
    expect_failure(s, src->read_at(src, s->job, 0, 8, 3, got), QC_E_CORRUPT, "a.bin: cut short");
    expect_failure(s, src->read_at(src, s->job, 0, UINT64_MAX, 2, got), QC_E_CORRUPT, "cut short");
    expect_failure(s, src->read_at(src, s->job, 0, 2, SIZE_MAX, got), QC_E_CORRUPT, "cut short");
    expect_failure(s, src->read_at(src, s->job, 5, 0, 1, got), QC_E_INTERNAL, "not open");
    source_free(src);
}

static void a_file_that_shrinks_is_an_error(void **state)
{
    scratch_folder *s = *state;
    char got[10];
    scratch_write(s, "a.bin", "0123456789", 10);
    const qc_source *src = open_folder(s, "a.bin");
    assert_int_equal(truncate(scratch_path(s, "a.bin"), 4), 0);
    expect_failure(s, src->read_at(src, s->job, 0, 0, 10, got), QC_E_IO, "became shorter");
    source_free(src);
}

static void names_stay_inside(void **state)
{
    static const char *const names[] = {"../a", "a/b", "..", ".", "", "/etc/passwd"};
    scratch_folder *s = *state;
    const qc_source *src = open_folder(s, NULL);
    uint32_t file;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        expect_failure(s, src->open(src, s->job, names[i], 1, &file), QC_E_CORRUPT, "no name of a file");
    source_free(src);
}

static void absence_may_be_fine(void **state)
{
    scratch_folder *s = *state;
    const qc_source *src = open_folder(s, NULL);
    uint32_t file = 0;
    assert_int_equal(src->open(src, s->job, "none", 1, &file), QC_OK);
    assert_int_equal(file, UINT32_MAX);
    expect_failure(s, src->open(src, s->job, "none", 0, &file), QC_E_IO, "No such file");
    source_free(src);
}

static void only_regular_files_are_read(void **state)
{
    scratch_folder *s = *state;
    uint32_t file;
    assert_int_equal(mkdir(scratch_path(s, "folder"), 0700), 0);
    assert_int_equal(mkfifo(scratch_path(s, "pipe"), 0600), 0);
    const qc_source *src = open_folder(s, NULL);
    expect_failure(s, src->open(src, s->job, "folder", 0, &file), QC_E_IO, "not a regular file");
    expect_failure(s, src->open(src, s->job, "pipe", 0, &file), QC_E_IO, "not a regular file");
    source_free(src);
}

static void files_are_opened_once_and_known(void **state)
{
    scratch_folder *s = *state;
    struct stat st;
    uint32_t one, two;
    scratch_write(s, "a", "x", 1);
    scratch_write(s, "b", "x", 1);
    const qc_source *src = open_folder(s, "a");
    assert_int_equal(src->open(src, s->job, "b", 0, &one), QC_OK);
    assert_int_equal(src->open(src, s->job, "b", 0, &two), QC_OK);
    assert_int_equal(one, two);
    assert_int_equal(source_files(src), 2);
    assert_int_equal(stat(scratch_path(s, "b"), &st), 0);
    assert_true(source_owns(src, &st));
    assert_int_equal(stat(s->path, &st), 0);
    assert_false(source_owns(src, &st));
    source_free(src);
}

static void paths_are_split_at_the_last_slash(void **state)
{
    static const char *const cases[][3] = {{"a/b/c", "a/b", "c"}, {"c", ".", "c"}, {"/c", "/", "c"}};
    scratch_folder *s = *state;
    for (size_t i = 0; i < 3; i++) {
        char *folder, *name;
        assert_int_equal(path_split(s->job, cases[i][0], &folder, &name), QC_OK);
        assert_string_equal(folder, cases[i][1]);
        assert_string_equal(name, cases[i][2]);
        free(folder);
        free(name);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_begin, scratch_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(bytes_come_back),
        TEST(ranges_are_checked),
        TEST(a_file_that_shrinks_is_an_error),
        TEST(names_stay_inside),
        TEST(absence_may_be_fine),
        TEST(only_regular_files_are_read),
        TEST(files_are_opened_once_and_known),
        TEST(paths_are_split_at_the_last_slash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
