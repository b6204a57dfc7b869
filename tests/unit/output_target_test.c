/* Files of the output: hidden until they are whole, gone without a trace otherwise. */
#include "core/target.h"
#include "scratch_folder.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static target *begin(scratch_folder *s, const char *name, int is_folder, int overwrite)
{
    target *t = NULL;
    assert_int_equal(target_new(s->job, scratch_path(s, name), is_folder, overwrite, &t), QC_OK);
    return t;
}

static void put(scratch_folder *s, target *t, const char *name, const char *text)
{
    uint32_t file;
    assert_int_equal(target_add(t, s->job, name, strlen(text), &file), QC_OK);
    assert_int_equal(target_write(t, s->job, file, 0, text, strlen(text)), QC_OK);
}

static void expect_content(scratch_folder *s, const char *name, const char *text)
{
    char got[64] = "";
    FILE *file = fopen(scratch_path(s, name), "rb");
    assert_non_null(file);
    size_t n = fread(got, 1, sizeof got - 1, file);
    fclose(file);
    assert_int_equal(n, strlen(text));
    assert_string_equal(got, text);
}

static void expect_failure(scratch_folder *s, qc_status status, qc_status wanted, const char *words)
{
    assert_int_equal(status, wanted);
    assert_non_null(strstr(job_message(s->job), words));
    job_clear(s->job);
}

static void appears_only_at_the_end(void **state)
{
    scratch_folder *s = *state;
    struct stat st;
    target *t = begin(s, "out.gguf", 0, 0);
    put(s, t, NULL, "weights");
    assert_int_equal(stat(scratch_path(s, "out.gguf"), &st), -1);
    assert_int_equal(target_commit(t, s->job), QC_OK);
    target_free(t);
    expect_content(s, "out.gguf", "weights");
    assert_int_equal(scratch_count(s), 1);
    mode_t mask = umask(0);
    umask(mask);
    assert_int_equal(stat(scratch_path(s, "out.gguf"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0666 & ~mask);
}

static void vanishes_when_given_up(void **state)
{
    scratch_folder *s = *state;
    target *t = begin(s, "new/deep/out.gguf", 0, 0);
    put(s, t, NULL, "weights");
    target_free(t);
    assert_int_equal(scratch_count(s), 0);
    t = begin(s, "folder", 1, 0);
    put(s, t, "a", "1");
    put(s, t, "b", "2");
    target_free(t);
    assert_int_equal(scratch_count(s), 0);
}

static void what_exists_is_kept(void **state)
{
    scratch_folder *s = *state;
    target *t = NULL;
    scratch_write(s, "out.gguf", "old", 3);
    expect_failure(s, target_new(s->job, scratch_path(s, "out.gguf"), 0, 0, &t), QC_E_INVALID, "exists already");
    t = begin(s, "out.gguf", 0, 1);
    put(s, t, NULL, "new");
    target_free(t);
    expect_content(s, "out.gguf", "old");
    t = begin(s, "out.gguf", 0, 1);
    put(s, t, NULL, "new");
    assert_int_equal(target_commit(t, s->job), QC_OK);
    target_free(t);
    expect_content(s, "out.gguf", "new");
    assert_int_equal(scratch_count(s), 1);
}

static void what_came_in_the_meantime_is_kept(void **state)
{
    scratch_folder *s = *state;
    target *t = begin(s, "out.gguf", 0, 0);
    put(s, t, NULL, "ours");
    scratch_write(s, "out.gguf", "theirs", 6);
    expect_failure(s, target_commit(t, s->job), QC_E_INVALID, "exists already");
    target_free(t);
    expect_content(s, "out.gguf", "theirs");
    assert_int_equal(scratch_count(s), 1);
}

static void folders_fill_at_once_or_are_added_to(void **state)
{
    scratch_folder *s = *state;
    target *t = begin(s, "model", 1, 0);
    put(s, t, "a", "1");
    assert_int_equal(target_commit(t, s->job), QC_OK);
    target_free(t);
    expect_content(s, "model/a", "1");
    scratch_write(s, "model/mine", "x", 1);
    expect_failure(s, target_new(s->job, scratch_path(s, "model"), 1, 0, &t), QC_E_INVALID, "exists already");
    t = begin(s, "model", 1, 1);
    put(s, t, "a", "2");
    assert_int_equal(target_commit(t, s->job), QC_OK);
    target_free(t);
    expect_content(s, "model/a", "2");
    expect_content(s, "model/mine", "x");
    assert_int_equal(scratch_count(s), 1);
}

static void a_link_to_a_folder_is_filled_where_it_leads(void **state)
{
    scratch_folder *s = *state;
    char link[160];
    assert_int_equal(mkdir(scratch_path(s, "elsewhere"), 0700), 0);
    snprintf(link, sizeof link, "%s", scratch_path(s, "model"));
    assert_int_equal(symlink("elsewhere", link), 0);
    target *t = begin(s, "model", 1, 0);
    put(s, t, "a", "1");
    assert_int_equal(target_commit(t, s->job), QC_OK);
    target_free(t);
    expect_content(s, "elsewhere/a", "1");
    assert_int_equal(scratch_count(s), 2);
}

static void writes_stay_inside(void **state)
{
    scratch_folder *s = *state;
    uint32_t file;
    target *t = begin(s, "out", 0, 0);
    assert_int_equal(target_add(t, s->job, NULL, 4, &file), QC_OK);
    expect_failure(s, target_write(t, s->job, file, 2, "abc", 3), QC_E_INTERNAL, "outside");
    expect_failure(s, target_write(t, s->job, file, UINT64_MAX, "abc", 3), QC_E_INTERNAL, "outside");
    expect_failure(s, target_write(t, s->job, 7, 0, "abc", 3), QC_E_INTERNAL, "outside");
    expect_failure(s, target_add(t, s->job, "../x", 4, &file), QC_E_INTERNAL, "../x");
    target_free(t);
}

static void wrong_places_are_refused(void **state)
{
    scratch_folder *s = *state;
    target *t = NULL;
    uint32_t file;
    assert_int_equal(mkdir(scratch_path(s, "folder"), 0700), 0);
    expect_failure(s, target_new(s->job, scratch_path(s, "folder"), 0, 1, &t), QC_E_INVALID, "is a folder");
    scratch_write(s, "file", "x", 1);
    expect_failure(s, target_new(s->job, scratch_path(s, "file"), 1, 1, &t), QC_E_INVALID, "is a file");
    assert_int_equal(symlink("nowhere", scratch_path(s, "link")), 0);
    expect_failure(s, target_new(s->job, scratch_path(s, "link"), 0, 1, &t), QC_E_INVALID, "link to nowhere");
    expect_failure(s, target_new(s->job, "/dev/null", 0, 1, &t), QC_E_INVALID, "no regular file");
    qc_status status = target_new(s->job, scratch_path(s, "file/out"), 0, 0, &t);
    if (status == QC_OK)
        status = target_add(t, s->job, NULL, 1, &file);
    assert_int_equal(status, QC_E_IO);
    target_free(t);
}

static void a_trial_leaves_nothing(void **state)
{
    scratch_folder *s = *state;
    assert_int_equal(target_try(s->job, scratch_path(s, "a/b/out"), 0), QC_OK);
    assert_int_equal(scratch_count(s), 0);
    scratch_write(s, "file", "x", 1);
    assert_int_equal(target_try(s->job, scratch_path(s, "file"), 1), QC_OK);
    expect_content(s, "file", "x");
    expect_failure(s, target_try(s->job, scratch_path(s, "file"), 0), QC_E_INVALID, "exists already");
    assert_int_equal(target_try(s->job, scratch_path(s, "file/out"), 0), QC_E_IO);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_begin, scratch_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(appears_only_at_the_end),
        TEST(vanishes_when_given_up),
        TEST(what_exists_is_kept),
        TEST(what_came_in_the_meantime_is_kept),
        TEST(folders_fill_at_once_or_are_added_to),
        TEST(a_link_to_a_folder_is_filled_where_it_leads),
        TEST(writes_stay_inside),
        TEST(wrong_places_are_refused),
        TEST(a_trial_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
