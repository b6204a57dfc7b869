/* The registry: who is found, who wins, who is refused and why, with made-up manifests; then the built plugins. */
#include "core/backends.h"
#include "scratch_folder.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#ifndef QC_PLUGIN_DIR
#error the build says where the plugins are
#endif

/* FOLDER/NAME/{plugin.ini, libqc_x.so}; the library is not one. */
static void make_plugin(scratch_folder *s, const char *folder, const char *name, const char *abi, const char *rest)
{
    char path[128], text[1024];
    mkdir(scratch_path(s, folder), 0755);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    mkdir(scratch_path(s, path), 0755);
    snprintf(text, sizeof text,
             "[plugin]\nname = %s\nversion = 1\nabi = %s\nlibrary = qc_x\nlicense = MIT\nsource = s\n%s", name, abi,
             rest);
    snprintf(path, sizeof path, "%s/%s/plugin.ini", folder, name);
    scratch_write(s, path, text, strlen(text));
    chmod(s->name, 0644);
    snprintf(path, sizeof path, "%s/%s/libqc_x.so", folder, name);
    scratch_write(s, path, "x", 1);
    chmod(s->name, 0644);
}

static registry *open_folders(scratch_folder *s, const char *mask)
{
    char a[200], b[200];
    const char *const folders[] = {a, b};
    registry *r = NULL;
    snprintf(a, sizeof a, "%s/a", s->path);
    snprintf(b, sizeof b, "%s/b", s->path);
    assert_int_equal(registry_new(s->job, folders, 2, mask, &r), QC_OK);
    return r;
}

/* The i-th entry of that name: state, and what its reason must contain. */
static void expect_entry(const registry *r, const char *kind, const char *id, size_t which, plugin_state state,
                         const char *why)
{
    for (size_t i = 0; i < registry_count(r); i++) {
        const plugin_entry *e = registry_at(r, i);
        if (strcmp(e->kind, kind) != 0 || strcmp(e->id, id) != 0 || which-- != 0)
            continue;
        assert_int_equal(e->state, state);
        if (state != PLUGIN_USABLE && !strstr(e->why, why))
            fail_msg("'%s' lacks '%s'", e->why, why);
        return;
    }
    fail_msg("no %s:%s", kind, id);
}

static void first_wins(void **state)
{
    scratch_folder *s = *state;
    const void *desc;
    make_plugin(s, "b", "early", "0.1", "[method:m]\nsummary = from b\n");
    make_plugin(s, "a", "late", "0.1", "[method:m]\nsummary = from a\n[encoding:m]\nsummary = another kind\n");
    make_plugin(s, "a", "later", "0.1", "[method:n]\nsummary = n\n[method:m]\nsummary = from later\n");
    registry *r = open_folders(s, NULL);
    assert_int_equal(registry_count(r), 5);
    assert_string_equal(registry_at(r, 0)->kind, "encoding");
    expect_entry(r, "method", "m", 0, PLUGIN_USABLE, "");
    expect_entry(r, "method", "m", 1, PLUGIN_SHADOWED, "/a/late/plugin.ini has the same id");
    expect_entry(r, "method", "m", 2, PLUGIN_SHADOWED, "/a/late/plugin.ini has the same id");
    assert_string_equal(registry_entry(r, "method", "m")->summary, "from a");
    assert_int_equal(registry_unusable(r, &(const plugin_entry *){NULL}), 0);
    assert_int_equal(registry_open(r, s->job, "method", "mm", &desc), QC_E_INVALID);
    assert_string_equal(job_message(s->job), "no method 'mm'; did you mean 'm'?");
    job_clear(s->job);
    assert_int_equal(registry_open(r, s->job, "format", "xyz", &desc), QC_E_INVALID);
    assert_string_equal(job_message(s->job), "no format 'xyz' (see: qcore plugins list --kind format)");
    job_clear(s->job);
    assert_int_equal(registry_open(r, s->job, "method", "m", &desc), QC_E_UNSUPPORTED); /* "x" is no library */
    assert_ptr_equal(strstr(job_message(s->job), "method m cannot be used: cannot be loaded: "), job_message(s->job));
    assert_null(registry_entry(r, "method", "m"));
    registry_free(r);
}

static void needs_are_checked(void **state)
{
    scratch_folder *s = *state;
    const void *desc;
    make_plugin(s, "a", "p1", "0.99", "[method:new]\nsummary = s\n");
    make_plugin(s, "a", "p2", "1.0", "[method:next]\nsummary = s\n");
    make_plugin(s, "a", "p3", "0.1", "[backend:fast]\nsummary = s\n[requires]\ncpu = x86-v4\n");
    make_plugin(s, "b", "p3", "0.1", "[backend:fast]\nsummary = slower\n");
    make_plugin(s, "a", "p4", "0.1", "[com.acme.thing:t]\nsummary = s\n");
    make_plugin(s, "a", "p5", "0.1", "[method:m\nsummary = s\n");
    make_plugin(s, "a", "p6", "0.1", "[method:gone]\nsummary = s\n");
    unlink(scratch_path(s, "a/p6/libqc_x.so"));
    registry *r = open_folders(s, "generic");
    assert_string_equal(registry_cpu(r), "generic");
    expect_entry(r, "method", "new", 0, PLUGIN_BROKEN, "/a/p1/plugin.ini: needs ABI 0.99, this qcore speaks 0.4");
    expect_entry(r, "method", "next", 0, PLUGIN_BROKEN, "/a/p2/plugin.ini: needs ABI 1.0, this qcore speaks 0.4");
    expect_entry(r, "backend", "fast", 0, PLUGIN_FILTERED, "needs CPU level x86-v4, this one is taken for generic");
    expect_entry(r, "backend", "fast", 1, PLUGIN_USABLE, "");
    expect_entry(r, "com.acme.thing", "t", 0, PLUGIN_SKIPPED, "kind 'com.acme.thing' is not known to this qcore");
    expect_entry(r, "plugin", "p5", 0, PLUGIN_BROKEN, "/a/p5/plugin.ini:8: section header without ']'");
    expect_entry(r, "method", "gone", 0, PLUGIN_BROKEN, "/a/p6/libqc_x.so: No such file");
    assert_int_equal(registry_unusable(r, &(const plugin_entry *){NULL}), 4);
    assert_int_equal(registry_open(r, s->job, "method", "p5", &desc), QC_E_UNSUPPORTED);
    assert_non_null(strstr(job_message(s->job), "no method 'p5': "));
    assert_non_null(strstr(job_message(s->job), "/a/p5/plugin.ini:8: section header"));
    registry_free(r);
}

static void what_others_may_write_is_refused(void **state)
{
    scratch_folder *s = *state;
    make_plugin(s, "a", "p1", "0.1", "[method:m1]\nsummary = s\n");
    make_plugin(s, "a", "p2", "0.1", "[method:m2]\nsummary = s\n");
    make_plugin(s, "a", "p3", "0.1", "[method:m3]\nsummary = s\n");
    make_plugin(s, "a", "p4", "0.1", "[method:m4]\nsummary = s\n");
    make_plugin(s, "a", "p5", "0.1", "[method:m5]\nsummary = s\n");
    make_plugin(s, "b", "p6", "0.1", "[method:m6]\nsummary = s\n");
    chmod(scratch_path(s, "a/p1"), 0777);
    chmod(scratch_path(s, "a/p2/plugin.ini"), 0646);
    chmod(scratch_path(s, "a/p3/libqc_x.so"), 0666);
    char target[200];
    snprintf(target, sizeof target, "%s", scratch_path(s, "a/p5/libqc_x.so"));
    unlink(scratch_path(s, "a/p4/libqc_x.so"));
    assert_int_equal(symlink(target, s->name), 0);
    chmod(scratch_path(s, "b"), 0757);
    registry *r = open_folders(s, NULL);
    expect_entry(r, "plugin", "p1", 0, PLUGIN_UNSAFE,
                 "/a/p1: mode 0777 lets others write it; to trust it: chmod go-w ");
    expect_entry(r, "plugin", "p2", 0, PLUGIN_UNSAFE, "/a/p2/plugin.ini: mode 0646 lets others write it");
    expect_entry(r, "method", "m3", 0, PLUGIN_UNSAFE, "/a/p3/libqc_x.so: mode 0666 lets others write it");
    expect_entry(r, "method", "m4", 0, PLUGIN_UNSAFE, "/a/p4/libqc_x.so: leads out of its folder, to ");
    expect_entry(r, "method", "m5", 0, PLUGIN_USABLE, "");
    assert_null(registry_entry(r, "method", "m6"));
    assert_int_equal(registry_unusable(r, &(const plugin_entry *){NULL}), 5);
    registry_free(r);
}

/* Our own group may write: systems with a group for every user leave files so. */
static void groups_are_told_apart(void **state)
{
    scratch_folder *s = *state;
    make_plugin(s, "a", "p1", "0.1", "[method:m1]\nsummary = s\n");
    make_plugin(s, "a", "p2", "0.1", "[method:m2]\nsummary = s\n");
    assert_int_equal(chmod(scratch_path(s, "a/p1"), 0775), 0);
    if (chown(s->name, (uid_t)-1, getegid()) != 0 || chown(scratch_path(s, "a/p2"), (uid_t)-1, 54321) != 0)
        skip(); /* only root may give files away */
    assert_int_equal(chmod(s->name, 0775), 0);
    registry *r = open_folders(s, NULL);
    expect_entry(r, "method", "m1", 0, PLUGIN_USABLE, "");
    expect_entry(r, "plugin", "p2", 0, PLUGIN_UNSAFE, "/a/p2: mode 0775 lets others write it");
    registry_free(r);
}

static void bad_masks_fail(void **state)
{
    scratch_folder *s = *state;
    registry *r;
    assert_int_equal(registry_new(s->job, NULL, 0, "avx", &r), QC_E_INVALID);
    assert_null(r);
    job_clear(s->job);
    assert_int_equal(registry_new(s->job, NULL, 0, NULL, &r), QC_OK);
    assert_int_equal(registry_count(r), 0);
    assert_int_equal(registry_load_backends(r, s->job, &(backend_choice){0}), QC_E_UNSUPPORTED);
    assert_non_null(strstr(job_message(s->job), "no backend has all_finite of qcore.ops.row/1"));
    registry_free(r);
}

/* ---- the built plugins ---- */

static registry *open_built(scratch_folder *s, const char *mask)
{
    static const char *const folders[] = {QC_PLUGIN_DIR};
    registry *r;
    assert_int_equal(registry_new(s->job, folders, 1, mask, &r), QC_OK);
    return r;
}

static void every_built_plugin_opens(void **state)
{
    scratch_folder *s = *state;
    registry *r = open_built(s, NULL);
    const void *desc, *again;
    assert_true(registry_count(r) > 0);
    for (size_t i = 0; i < registry_count(r); i++) {
        const plugin_entry *e = registry_at(r, i);
        if (e->state == PLUGIN_FILTERED)
            continue;
        if (registry_open(r, s->job, e->kind, e->id, &desc) != QC_OK)
            fail_msg("%s", job_message(s->job));
        assert_string_equal(((const qc_desc *)desc)->id, e->id);
        assert_int_equal(registry_open(r, s->job, e->kind, e->id, &again), QC_OK);
        assert_ptr_equal(desc, again);
    }
    registry_free(r);
}

static void coders_are_complete(void **state)
{
    scratch_folder *s = *state;
    for (int masked = 0; masked < 2; masked++) {
        registry *r = open_built(s, masked ? "generic" : NULL);
        for (size_t i = 0; i < registry_count(r); i++) {
            const plugin_entry *e = registry_at(r, i);
            qc_coder c;
            if (strcmp(e->kind, "encoding") != 0)
                continue;
            assert_int_equal(registry_coder(r, s->job, e->id, 512, &c), QC_OK);
            assert_true(c.ops->decode && (c.ops->encode || (c.ops->fit && c.ops->pack)));
            assert_true(c.cols == 512 && !c.order && !c.shared);
            assert_int_equal(c.block_cols, c.desc->block_cols ? c.desc->block_cols : 512);
            assert_int_equal(c.row_bytes, 512 / c.block_cols * c.desc->block_bytes + 512 / 8 * c.desc->code_bits);
            if (masked)
                assert_memory_equal(c.ops, c.desc->reference, sizeof *c.ops);
            if (c.desc->block_cols < 2) /* any number of columns */
                continue;
            assert_int_equal(registry_coder(r, s->job, e->id, c.block_cols + 1, &c), QC_E_INVALID);
            assert_non_null(strstr(job_message(s->job), "weights cannot be "));
            job_clear(s->job);
            assert_int_equal(registry_coder(r, s->job, e->id, 0, &c), QC_E_INVALID);
            job_clear(s->job);
            assert_int_not_equal(registry_coder(r, s->job, e->id, UINT64_MAX / c.block_cols * c.block_cols, &c), QC_OK);
            assert_int_equal(registry_coder(r, s->job, e->id, (uint64_t)1 << 41, &c), QC_E_LIMIT);
            job_clear(s->job);
        }
        registry_free(r);
    }
}

static void op_tables_are_served(void **state)
{
    scratch_folder *s = *state;
    registry *r = open_built(s, NULL);
    const float values[3] = {1, 2, 3};
    assert_null(s->host->find(s->host, QC_OPS_ROW));
    assert_int_equal(registry_load_backends(r, s->job, &(backend_choice){0}), QC_OK);
    const qc_ops_row *row = s->host->find(s->host, QC_OPS_ROW);
    assert_non_null(row);
    assert_int_equal(row->size, sizeof *row);
    assert_true(row->all_finite(values, 3) && row->sum_squares(values, NULL, 3) == 14);
    assert_null(s->host->find(s->host, "qcore.ops.none/1"));
    assert_int_equal(registry_load_backends(r, s->job, &(backend_choice){0}), QC_OK);
    registry_free(r);
}

/* A build or install folder is as good as its plugin folder. */
static void a_prefix_stands_for_its_plugins(void **state)
{
    scratch_folder *s = *state;
    char prefix[] = QC_PLUGIN_DIR;
    const char *const folders[] = {prefix};
    registry *r, *built = open_built(s, NULL);
    char *at = strstr(prefix, "/lib/qcore/plugins");
    assert_non_null(at);
    *at = 0;
    assert_int_equal(registry_new(s->job, folders, 1, NULL, &r), QC_OK);
    assert_int_equal(registry_count(r), registry_count(built));
    registry_free(built);
    registry_free(r);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, scratch_begin, scratch_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(first_wins),
        TEST(needs_are_checked),
        TEST(what_others_may_write_is_refused),
        TEST(groups_are_told_apart),
        TEST(bad_masks_fail),
        TEST(every_built_plugin_opens),
        TEST(coders_are_complete),
        TEST(op_tables_are_served),
        TEST(a_prefix_stands_for_its_plugins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
