/* plugin.ini: what is read, and one clear line for everything that is wrong. */
#include "core/manifest.h"
#include "scratch_folder.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PLUGIN "[plugin]\nname = p\nversion = 1.2\nabi = 0.1\nlibrary = qc_p\nlicense = MIT\nsource = own work\n"
#define METHOD "[method:m]\nsummary = Does it\n"
#define SETTING "[setting:m.s]\nhelp = Helps\n"

static void count_warnings(void *arg, int level, const char *message)
{
    if (level == QC_LOG_WARNING)
        snprintf(arg, 256, "%s", message);
}

static void everything_is_read(void **state)
{
    static const char text[] =
        "; a comment\n" PLUGIN "[method:m]\nsummary = Does it ; in its way\nneeds = calibration\n"
        "[encoding:m]\nsummary = Bits\nbits = 4.5\n"
        "[setting:m.damp]\ntype = float\ndefault = 0.01\nmin = 0\nmax = 1\nunit = parts\nhelp = Damps\n"
        "[setting:m.count]\ntype = int\ndefault = -3\nhelp = Counts\n"
        "[setting:m.fast]\ntype = bool\ndefault = true\nhelp = Hurries\n"
        "[setting:m.word]\ntype = text\ndefault =\nhelp = Says\n"
        "[setting:m.mode]\ntype = enum\nchoices = a, b,c\ndefault = b\nhelp = Chooses\n"
        "[requires]\ncpu = x86-v4\n";
    scratch_folder *s = *state;
    manifest *m;
    assert_int_equal(manifest_parse(s->job, "d/plugin.ini", text, strlen(text), &m), QC_OK);
    assert_string_equal(m->name, "p");
    assert_string_equal(m->version, "1.2");
    assert_string_equal(m->cpu, "x86-v4");
    assert_int_equal(m->abi_minor, 1);
    assert_int_equal(m->n_entries, 2);
    const plugin_entry *e = &m->entries[0];
    assert_string_equal(e->kind, "method");
    assert_string_equal(e->id, "m");
    assert_string_equal(e->summary, "Does it");
    assert_string_equal(entry_value(e, "needs"), "calibration");
    assert_null(entry_value(e, "bits"));
    assert_int_equal(e->n_settings, 5);
    assert_int_equal(m->entries[1].n_settings, 5);
    assert_true(e->settings[0].number == 0.01 && e->settings[0].min == 0 && e->settings[0].max == 1);
    assert_string_equal(e->settings[0].unit, "parts");
    assert_true(e->settings[1].number == -3);
    assert_true(e->settings[2].number == 1);
    assert_string_equal(e->settings[3].text, "");
    assert_string_equal(e->settings[4].text, "b");
    assert_string_equal(e->settings[4].choices[2], "c");
    assert_null(e->settings[4].choices[3]);
    manifest_free(m);
}

static void wrong_ones_say_what_and_where(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "p.ini: [plugin] has no name"},
        {PLUGIN, "p.ini: no section [kind:id], so the plugin holds nothing"},
        {"[plugin]\nname = ../x\n", "p.ini:2: name is '../x', want letters, digits, '_' and '-' only"},
        {"[plugin]\nlibrary = a/b\n", "p.ini:2: library is 'a/b', want letters, digits, '_' and '-' only"},
        {"[plugin]\nname = p\nversion = 1\nlibrary = l\nlicense = MIT\nabi = 0.1\n" METHOD,
         "p.ini: [plugin] has no source (a paper, a specification, or `own work`)"},
        {"[plugin]\nname = p\nversion = 1\nlibrary = l\nlicense = MIT\nsource = s\n" METHOD,
         "p.ini: [plugin] has no abi; 0.4 is this qcore's"},
        {"[plugin]\nabi = one\n", "p.ini:2: abi is 'one', want MAJOR.MINOR, as 0.4"},
        {"[plugin]\nabi = 0.1.2\n", "p.ini:2: abi is '0.1.2', want MAJOR.MINOR, as 0.4"},
        {"[plugin]\nabi = 0.99999999999999999999999\n",
         "p.ini:2: abi is '0.99999999999999999999999', want MAJOR.MINOR, as 0.4"},
        {PLUGIN "[method:m]\nneeds = x\n", "p.ini: [method:m] has no summary"},
        {PLUGIN "[method]\nsummary = x\n",
         "p.ini:9: unknown section [method]; want [plugin], [requires], [kind:id] or [setting:id.name]"},
        {PLUGIN "[method:a b]\nsummary = x\n",
         "p.ini:9: [method:a b]: the id after ':' may have letters, digits, '_' and '-' only"},
        {PLUGIN "[method:m]\n[method:n]\nsummary = x\n", "p.ini:8: section without keys"},
        {PLUGIN METHOD "[method:n]", "p.ini:10: section without keys"},
        {PLUGIN METHOD "summary = y\n", "p.ini:10: 'summary' again; line 9 has it"},
        {PLUGIN METHOD METHOD, "p.ini:10: section [method:m] again; it began in line 9"},
        {PLUGIN METHOD "[requires]\ncpu = x86-v3\n[method:m]\nneeds = x\n",
         "p.ini:12: section [method:m] again; it began in line 9"},
        {"name = p\n", "p.ini:1: unknown section []; want [plugin], [requires], [kind:id] or [setting:id.name]"},
        {"[plugin\nname = p\n", "p.ini:1: section header without ']'"},
        {"[plugin]\nname\n", "p.ini:2: neither [section], nor key = value, nor comment"},
        {"[plugin]\n= p\n", "p.ini:2: value without a key"},
        {"[plugin]\nname = p\n  more\n", "p.ini:3: line begins with blanks"},
        {"[plugin]\nname = \x1b[31m\n", "p.ini:2: control character 0x1b"},
        {"[plugin]\nname = a\x7f\n", "p.ini:2: control character 0x7f"},
        {PLUGIN METHOD SETTING "default = 1\n", "p.ini:11: [setting:m.s] has no type"},
        {PLUGIN METHOD SETTING "type = double\n", "p.ini:12: type is 'double', want int, float, bool, text or enum"},
        {PLUGIN METHOD SETTING "type = int\n", "p.ini:11: [setting:m.s] has no default"},
        {PLUGIN METHOD SETTING "type = int\ndefault = 1.5\n", "p.ini:13: default is '1.5', want a whole number"},
        {PLUGIN METHOD SETTING "type = int\ndefault = 0x10\n", "p.ini:13: default is '0x10', want a whole number"},
        {PLUGIN METHOD SETTING "type = float\ndefault = nan\n", "p.ini:13: default is 'nan', want a number"},
        {PLUGIN METHOD SETTING "type = float\ndefault = 1e999\n", "p.ini:13: default is '1e999', want a number"},
        {PLUGIN METHOD SETTING "type = float\nmin = 2\nmax = 1\ndefault = 1\n", "p.ini:13: min 2 is above max 1"},
        {PLUGIN METHOD SETTING "type = float\nmin = 2\ndefault = 1\n",
         "p.ini:14: default is '1', want a number, at least 2"},
        {PLUGIN METHOD SETTING "type = int\nmax = 2\ndefault = 3\n",
         "p.ini:14: default is '3', want a whole number, at most 2"},
        {PLUGIN METHOD SETTING "type = text\nmax = 2\ndefault = 3\n",
         "p.ini:13: max is for settings of type int and float"},
        {PLUGIN METHOD SETTING "type = bool\ndefault = maybe\n", "p.ini:13: default is 'maybe', want true or false"},
        {PLUGIN METHOD SETTING "type = enum\ndefault = a\n", "p.ini:11: [setting:m.s] is an enum without choices"},
        {PLUGIN METHOD SETTING "type = enum\nchoices = ,\ndefault = a\n", "p.ini:13: no choices"},
        {PLUGIN METHOD SETTING "type = enum\nchoices = a b\ndefault = c\n",
         "p.ini:14: default is 'c', want one of a, b"},
        {PLUGIN METHOD SETTING "type = int\nchoices = a b\ndefault = c\n",
         "p.ini:13: choices are for settings of type enum"},
        {PLUGIN METHOD "[setting:m.s]\ntype = int\ndefault = 1\n", "p.ini:11: [setting:m.s] has no help"},
        {PLUGIN METHOD "[setting:x.s]\ntype = int\ndefault = 1\nhelp = h\n",
         "p.ini:11: [setting:x.s]: no section [kind:x]"},
        {PLUGIN METHOD "[setting:s]\ntype = int\n", "p.ini:11: [setting:s]: want [setting:ID.NAME]"},
        {"[plugin]\nannnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn = 1\n",
         "p.ini:2: name of more than 48 characters"},
    };
    scratch_folder *s = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        manifest *m = NULL;
        assert_int_equal(manifest_parse(s->job, "p.ini", cases[i].text, strlen(cases[i].text), &m), QC_E_CORRUPT);
        assert_string_equal(job_message(s->job), cases[i].message);
        assert_null(m);
        job_clear(s->job);
    }
}

static void unknown_keys_warn(void **state)
{
    static const char *const texts[][2] = {
        {PLUGIN "colour = red\n" METHOD, "p.ini:8: unknown key 'colour' in [plugin] is ignored"},
        {PLUGIN METHOD "bits = 3\n", "p.ini:10: unknown key 'bits' in [method:m] is ignored"},
        {PLUGIN METHOD SETTING "type = int\ndefault = 1\nwhy = so\n",
         "p.ini:14: unknown key 'why' in [setting:m.s] is ignored"},
        {PLUGIN METHOD "[requires]\nram = 1\n", "p.ini:11: unknown key 'ram' in [requires] is ignored"},
        {PLUGIN "[com.acme.thing:t]\nsummary = s\nanything = goes\n", ""},
    };
    scratch_folder *s = *state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char warning[256] = "";
        manifest *m;
        host_set_log(s->host, count_warnings, warning);
        assert_int_equal(manifest_parse(s->job, "p.ini", texts[i][0], strlen(texts[i][0]), &m), QC_OK);
        assert_string_equal(warning, texts[i][1]);
        manifest_free(m);
    }
    host_set_log(s->host, NULL, NULL);
}

static void files_are_bounded(void **state)
{
    scratch_folder *s = *state;
    manifest *m;
    char *big = malloc(65537);
    memset(big, '\n', 65537);
    scratch_write(s, "big.ini", big, 65537);
    assert_int_equal(manifest_read(s->job, scratch_path(s, "big.ini"), &m), QC_E_LIMIT);
    assert_non_null(strstr(job_message(s->job), "big.ini: more than 65536 bytes"));
    job_clear(s->job);
    memset(big, 'x', 300);
    assert_int_equal(manifest_parse(s->job, "p.ini", big, 300, &m), QC_E_CORRUPT);
    assert_non_null(strstr(job_message(s->job), "p.ini:1: line of 300 characters"));
    job_clear(s->job);
    assert_int_equal(manifest_read(s->job, "/nonexistent/plugin.ini", &m), QC_E_IO);
    free(big);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(everything_is_read, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(wrong_ones_say_what_and_where, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(unknown_keys_warn, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(files_are_bounded, scratch_begin, scratch_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
