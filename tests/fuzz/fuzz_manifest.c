/* Any text as a plugin.ini. What is accepted must be whole: names, summaries, defaults inside their ranges. */
#include "core/manifest.h"
#include "core/settings.h"
#include "fuzz.h"
#include "scratch_folder.h"
#include <stdlib.h>
#include <string.h>

static void expect(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "does not hold: %s\n", what);
        abort();
    }
}

static void no_log(void *arg, int level, const char *message)
{
    (void)arg;
    (void)level;
    expect(!strchr(message, '\n'), "a warning is one line");
}

static void check_setting(const qc_host *host, const qc_settings *settings, const setting_spec *s)
{
    double number = host->number(settings, s->name);
    expect(s->name && *s->name && s->help && *s->help, "a setting has a name and help");
    expect((s->type == SETTING_ENUM) == (s->choices != NULL), "enums alone have choices");
    if (s->type == SETTING_INT || s->type == SETTING_FLOAT)
        expect(number >= s->min && number <= s->max, "a default lies in its range");
    if (s->type == SETTING_INT)
        expect(number == (double)(int64_t)number, "a whole number is whole");
    if (s->type == SETTING_BOOL)
        expect(number == 0 || number == 1, "a truth value is one");
    expect(host->text(settings, s->name) != NULL, "a text is never NULL");
}

static void check_entry(qc_job *job, const plugin_entry *e)
{
    static const char *const values[] = {"", "1", "-1e300", "true", "a", "nan", "0x1p4"};
    qc_settings *settings;
    expect(*e->kind && *e->id && e->summary && e->state == PLUGIN_USABLE && !e->why, "an entry is whole");
    expect(settings_new(job, e, NULL, NULL, 0, &settings) == QC_OK, "defaults are fine");
    for (size_t i = 0; i < e->n_settings; i++)
        check_setting(job->host, settings, &e->settings[i]);
    settings_free(settings);
    for (size_t i = 0; i < e->n_settings; i++)
        for (size_t v = 0; v < sizeof values / sizeof values[0]; v++) {
            const char *name = e->settings[i].name;
            if (settings_new(job, e, &name, &values[v], 1, &settings) == QC_OK)
                check_setting(job->host, settings, &e->settings[i]);
            settings_free(settings);
            job_clear(job);
        }
}

static void check_manifest(qc_job *job, const manifest *m)
{
    expect(m->name && m->version && m->library && m->license && m->source && m->n_entries > 0, "[plugin] is whole");
    expect(!strchr(m->library, '/') && !strchr(m->library, '.'), "a library stays in its folder");
    for (size_t i = 0; i < m->n_entries; i++)
        check_entry(job, &m->entries[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static qc_host *host; /* one for all inputs: what is not given back would be seen */
    static pool *threads;
    manifest *m;
    if (!host) {
        host = host_new();
        threads = host ? pool_new(host, 1) : NULL;
        expect(threads != NULL, "there is memory");
        host_set_log(host, no_log, NULL);
    }
    qc_job *job = pool_job(threads);
    qc_status status = manifest_parse(job, "plugin.ini", (const char *)data, size, &m);
    expect((status == QC_OK) == (m != NULL), "a manifest or a failure");
    expect((status == QC_OK) == (*job_message(job) == 0), "a failure has a message, a success none");
    expect(status == QC_OK || !strncmp(job_message(job), "plugin.ini:", 11), "a message begins with the file");
    job_clear(job);
    if (m)
        check_manifest(job, m);
    manifest_free(m);
    return 0;
}
