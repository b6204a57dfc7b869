/* Settings of a plugin use: defaults, then what the user gave, checked by the manifest. */
#include "core/manifest.h"
#include "core/settings.h"
#include "scratch_folder.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char text[] = "[plugin]\nname = p\nversion = 1\nabi = 0.1\nlibrary = qc_p\nlicense = MIT\nsource = s\n"
                           "[method:m]\nsummary = s\n[method:bare]\nsummary = s\n"
                           "[setting:m.damp]\ntype = float\ndefault = 0.01\nmin = 0\nmax = 1\nhelp = h\n"
                           "[setting:m.count]\ntype = int\ndefault = 3\nmin = 1\nhelp = h\n"
                           "[setting:m.fast]\ntype = bool\ndefault = false\nhelp = h\n"
                           "[setting:m.word]\ntype = text\ndefault = hello\nhelp = h\n"
                           "[setting:m.mode]\ntype = enum\nchoices = near, far\ndefault = far\nhelp = h\n";

static void defaults_and_values(void **state)
{
    static const char *const names[] = {"damp", "fast", "word", "mode"};
    static const char *const values[] = {"1e-3", "yes", "", "near"};
    scratch_folder *s = *state;
    qc_settings *settings;
    manifest *m;
    assert_int_equal(manifest_parse(s->job, "p.ini", text, strlen(text), &m), QC_OK);
    assert_int_equal(settings_new(s->job, &m->entries[0], NULL, NULL, 0, &settings), QC_OK);
    assert_true(s->host->number(settings, "damp") == 0.01 && s->host->number(settings, "count") == 3);
    assert_string_equal(s->host->text(settings, "word"), "hello");
    assert_string_equal(s->host->text(settings, "mode"), "far");
    assert_true(s->host->number(settings, "nothing") == 0);
    assert_string_equal(s->host->text(settings, "nothing"), "");
    assert_string_equal(s->host->text(settings, "damp"), "");
    settings_free(settings);
    assert_int_equal(settings_new(s->job, &m->entries[0], names, values, 4, &settings), QC_OK);
    assert_true(s->host->number(settings, "damp") == 1e-3 && s->host->number(settings, "fast") == 1);
    assert_string_equal(s->host->text(settings, "word"), "");
    assert_string_equal(s->host->text(settings, "mode"), "near");
    settings_free(settings);
    settings_free(NULL);
    assert_true(s->host->number(NULL, "damp") == 0);
    manifest_free(m);
}

static void wrong_values_say_what_is_wanted(void **state)
{
    static const struct {
        const char *name, *value, *message;
    } cases[] = {
        {"damp", "2", "method m: setting 'damp' is '2', want a number from 0 to 1"},
        {"damp", "", "method m: setting 'damp' is '', want a number from 0 to 1"},
        {"damp", "0.1x", "method m: setting 'damp' is '0.1x', want a number from 0 to 1"},
        {"damp", "inf", "method m: setting 'damp' is 'inf', want a number from 0 to 1"},
        {"count", "0", "method m: setting 'count' is '0', want a whole number, at least 1"},
        {"count", "1.5", "method m: setting 'count' is '1.5', want a whole number, at least 1"},
        {"count", "1e300", "method m: setting 'count' is '1e300', want a whole number, at least 1"},
        {"fast", "2", "method m: setting 'fast' is '2', want true or false"},
        {"mode", "nearby", "method m: setting 'mode' is 'nearby', want one of near, far"},
        {"demp", "1", "method m has no setting 'demp'; did you mean 'damp'?"},
        {"temperature", "1", "method m has no setting 'temperature' (see qcore plugins show method:m)"},
    };
    scratch_folder *s = *state;
    manifest *m;
    qc_settings *settings;
    assert_int_equal(manifest_parse(s->job, "p.ini", text, strlen(text), &m), QC_OK);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(settings_new(s->job, &m->entries[0], &cases[i].name, &cases[i].value, 1, &settings),
                         QC_E_INVALID);
        assert_string_equal(job_message(s->job), cases[i].message);
        assert_null(settings);
        job_clear(s->job);
    }
    assert_int_equal(settings_new(s->job, &m->entries[1], &cases[0].name, &cases[0].value, 1, &settings), QC_E_INVALID);
    assert_string_equal(job_message(s->job), "method bare has no settings, so no 'damp'");
    manifest_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(defaults_and_values, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(wrong_values_say_what_is_wanted, scratch_begin, scratch_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
