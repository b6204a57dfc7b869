/* plugin.ini, field by field. */
#include "core/inifile.h"
#include "core/log.h"
#include "core/manifest.h"
#include "core/settings.h"
#include <assert.h>
#include <ctype.h>
#include <float.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ABI = 65535 };

typedef struct reader {
    qc_job *job;
    const ini_file *ini;
    manifest *m;
} reader;

static qc_status wrong(const reader *r, unsigned line, const char *format, ...) __attribute__((format(printf, 3, 4)));
static qc_status wrong(const reader *r, unsigned line, const char *format, ...)
{
    char what[400];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return qc_fail(r->job, QC_E_CORRUPT, "%s:%u: %s", r->ini->path, line, what);
}

static qc_status no_memory(const reader *r)
{
    return qc_fail(r->job, QC_E_NOMEM, "%s: out of memory", r->ini->path);
}

static qc_status set_text(const reader *r, char **to, const char *value)
{
    free(*to);
    *to = strdup(value);
    return *to ? QC_OK : no_memory(r);
}

/* Names that appear in recipes and file names: no blanks, no slashes, no dots. */
static int is_name(const char *s)
{
    size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
    return n > 0 && s[n] == 0 && s[0] != '-';
}

/* Is `word` one of the words between blanks? */
static int word_in(const char *words, const char *word)
{
    size_t n = strlen(word);
    while (*words) {
        size_t length = strcspn(words, " ");
        if (length == n && !memcmp(words, word, n))
            return 1;
        words += length + strspn(words + length, " ");
    }
    return 0;
}

static void warn_unknown(const reader *r, const ini_item *i)
{
    log_say(r->job->host, QC_LOG_WARNING, "%s:%u: unknown key '%s' in [%s] is ignored", r->ini->path, i->line, i->key,
            i->section);
}

/* ---- [plugin], [requires] ---- */

static qc_status read_abi(const reader *r, const ini_item *i)
{
    char *end = i->value;
    unsigned long major = 0, minor = 0;
    int fine = isdigit((unsigned char)*end);
    if (fine)
        major = strtoul(end, &end, 10);
    fine = fine && *end == '.' && isdigit((unsigned char)end[1]);
    if (fine)
        minor = strtoul(end + 1, &end, 10);
    if (!fine || *end || major > MAX_ABI || minor > MAX_ABI)
        return wrong(r, i->line, "abi is '%s', want MAJOR.MINOR, as %d.%d", i->value, QC_ABI_MAJOR, QC_ABI_MINOR);
    r->m->abi_major = (unsigned)major;
    r->m->abi_minor = (unsigned)minor;
    return QC_OK;
}

static qc_status read_plugin_key(const reader *r, const ini_item *i)
{
    manifest *m = r->m;
    const struct {
        const char *key;
        char **to;
        int is_name;
    } texts[] = {{"name", &m->name, 1},
                 {"version", &m->version, 0},
                 {"library", &m->library, 1},
                 {"license", &m->license, 0},
                 {"source", &m->source, 0}};
    if (!strcmp(i->key, "abi"))
        return read_abi(r, i);
    for (size_t k = 0; k < sizeof texts / sizeof texts[0]; k++) {
        if (strcmp(i->key, texts[k].key) != 0)
            continue;
        if (texts[k].is_name && !is_name(i->value))
            return wrong(r, i->line, "%s is '%s', want letters, digits, '_' and '-' only", i->key, i->value);
        return set_text(r, texts[k].to, i->value);
    }
    warn_unknown(r, i);
    return QC_OK;
}

static qc_status check_plugin(const reader *r)
{
    const manifest *m = r->m;
    const char *missing = !m->name      ? "name"
                          : !m->version ? "version"
                          : !m->library ? "library"
                          : !m->license ? "license"
                          : !m->source  ? "source (a paper, a specification, or `own work`)"
                                        : NULL;
    if (missing)
        return qc_fail(r->job, QC_E_CORRUPT, "%s: [plugin] has no %s", m->path, missing);
    if (m->abi_major == UINT32_MAX)
        return qc_fail(r->job, QC_E_CORRUPT, "%s: [plugin] has no abi; %d.%d is this qcore's", m->path, QC_ABI_MAJOR,
                       QC_ABI_MINOR);
    if (m->n_entries == 0)
        return qc_fail(r->job, QC_E_CORRUPT, "%s: no section [kind:id], so the plugin holds nothing", m->path);
    return QC_OK;
}

static qc_status read_requires_key(const reader *r, const ini_item *i)
{
    if (!strcmp(i->key, "cpu"))
        return set_text(r, &r->m->cpu, i->value);
    warn_unknown(r, i);
    return QC_OK;
}

/* ---- [kind:id] ---- */

static qc_status add_entry(const reader *r, const ini_item *i, const char *colon)
{
    manifest *m = r->m;
    const char *id = colon + 1;
    if (!is_name(id))
        return wrong(r, i->line, "[%s]: the id after ':' may have letters, digits, '_' and '-' only", i->section);
    plugin_entry *entries = realloc(m->entries, (m->n_entries + 1) * sizeof *entries);
    if (!entries)
        return no_memory(r);
    m->entries = entries;
    plugin_entry *e = &entries[m->n_entries];
    memset(e, 0, sizeof *e);
    e->manifest = m;
    e->kind = strndup(i->section, (size_t)(colon - i->section));
    e->id = strdup(id);
    m->n_entries++;
    return e->kind && e->id ? QC_OK : no_memory(r);
}

static qc_status add_key(const reader *r, plugin_entry *e, const ini_item *i)
{
    char **keys = realloc(e->keys, (e->n_keys + 1) * sizeof *keys);
    if (keys)
        e->keys = keys;
    char **values = keys ? realloc(e->values, (e->n_keys + 1) * sizeof *values) : NULL;
    if (!values)
        return no_memory(r);
    e->values = values;
    keys[e->n_keys] = strdup(i->key);
    values[e->n_keys] = strdup(i->value);
    e->n_keys++;
    return keys[e->n_keys - 1] && values[e->n_keys - 1] ? QC_OK : no_memory(r);
}

static qc_status read_entry_key(const reader *r, const ini_item *i)
{
    assert(r->m->entries);
    plugin_entry *e = &r->m->entries[r->m->n_entries - 1];
    if (!strcmp(i->key, "summary"))
        return set_text(r, &e->summary, i->value);
    const char *keys = kind_keys(e->kind);
    if (keys && !word_in(keys, i->key))
        warn_unknown(r, i);
    return add_key(r, e, i);
}

/* ---- [setting:id.name] ---- */

static int has_prefix(const char *section, const char *prefix)
{
    return !strncmp(section, prefix, strlen(prefix));
}

/* The value of a key in the section that begins at item `first`; NULL: absent. */
static const ini_item *section_item(const reader *r, size_t first, const char *key)
{
    const ini_file *f = r->ini;
    for (size_t i = first; i < f->n && !strcmp(f->items[i].section, f->items[first].section); i++)
        if (!strcmp(f->items[i].key, key))
            return &f->items[i];
    return NULL;
}

static qc_status read_type(const reader *r, size_t first, setting_spec *s)
{
    const ini_item *type = section_item(r, first, "type");
    for (int k = SETTING_INT; type && k <= SETTING_ENUM; k++)
        if (!strcmp(type->value, setting_type_words[k])) {
            s->type = (setting_type)k;
            return QC_OK;
        }
    if (type)
        return wrong(r, type->line, "type is '%s', want int, float, bool, text or enum", type->value);
    return wrong(r, r->ini->items[first].line, "[%s] has no type", r->ini->items[first].section);
}

static qc_status read_choices(const reader *r, size_t first, setting_spec *s)
{
    const ini_item *i = section_item(r, first, "choices");
    if (s->type != SETTING_ENUM)
        return i ? wrong(r, i->line, "choices are for settings of type enum") : QC_OK;
    if (!i)
        return wrong(r, r->ini->items[first].line, "[%s] is an enum without choices", r->ini->items[first].section);
    size_t n = 0;
    s->choices = calloc(strlen(i->value) + 2, sizeof *s->choices);
    if (!s->choices)
        return no_memory(r);
    for (const char *at = i->value; *at;) {
        size_t length = strcspn(at, ", \t");
        if (length && !(s->choices[n++] = strndup(at, length)))
            return no_memory(r);
        at += length + strspn(at + length, ", \t");
    }
    return n ? QC_OK : wrong(r, i->line, "no choices");
}

/* min or max: itself a value of the setting's type. */
static qc_status read_bound(const reader *r, size_t first, const char *key, const setting_spec *s, double *bound)
{
    char want[256] = "";
    const ini_item *i = section_item(r, first, key);
    if (!i)
        return QC_OK;
    if (s->type != SETTING_INT && s->type != SETTING_FLOAT)
        return wrong(r, i->line, "%s is for settings of type int and float", key);
    if (!setting_parse(s, i->value, bound, want, sizeof want))
        return wrong(r, i->line, "%s is '%s', want %s", key, i->value, want);
    return QC_OK;
}

static qc_status read_range(const reader *r, size_t first, setting_spec *s)
{
    double limit = s->type == SETTING_INT ? SETTING_WHOLE : DBL_MAX;
    s->min = -limit;
    s->max = limit;
    double min = s->min, max = s->max;
    qc_status status = read_bound(r, first, "min", s, &min);
    if (status == QC_OK)
        status = read_bound(r, first, "max", s, &max);
    if (status == QC_OK && min > max)
        return wrong(r, section_item(r, first, "min")->line, "min %.15g is above max %.15g", min, max);
    s->min = min;
    s->max = max;
    return status;
}

static qc_status read_default(const reader *r, size_t first, setting_spec *s)
{
    char want[256] = "";
    const ini_item *i = section_item(r, first, "default");
    if (!i)
        return wrong(r, r->ini->items[first].line, "[%s] has no default", r->ini->items[first].section);
    if (!setting_parse(s, i->value, &s->number, want, sizeof want))
        return wrong(r, i->line, "default is '%s', want %s", i->value, want);
    if (s->type == SETTING_TEXT || s->type == SETTING_ENUM)
        return set_text(r, &s->text, i->value);
    return QC_OK;
}

static qc_status read_help(const reader *r, size_t first, setting_spec *s)
{
    const ini_item *help = section_item(r, first, "help"), *unit = section_item(r, first, "unit");
    if (!help || !*help->value)
        return wrong(r, r->ini->items[first].line, "[%s] has no help", r->ini->items[first].section);
    qc_status status = set_text(r, &s->help, help->value);
    return status == QC_OK && unit ? set_text(r, &s->unit, unit->value) : status;
}

static void warn_unknown_setting_keys(const reader *r, size_t first)
{
    const ini_file *f = r->ini;
    for (size_t i = first; i < f->n && !strcmp(f->items[i].section, f->items[first].section); i++)
        if (!word_in("type default min max unit help choices", f->items[i].key))
            warn_unknown(r, &f->items[i]);
}

static qc_status read_spec(const reader *r, size_t first, setting_spec *s)
{
    qc_status status = read_type(r, first, s);
    if (status == QC_OK)
        status = read_choices(r, first, s);
    if (status == QC_OK)
        status = read_range(r, first, s);
    if (status == QC_OK)
        status = read_default(r, first, s);
    return status == QC_OK ? read_help(r, first, s) : status;
}

static qc_status add_setting(const reader *r, plugin_entry *e, const char *name, size_t first)
{
    setting_spec *settings = realloc(e->settings, (e->n_settings + 1) * sizeof *settings);
    if (!settings)
        return no_memory(r);
    e->settings = settings;
    setting_spec *s = &settings[e->n_settings++];
    memset(s, 0, sizeof *s);
    s->name = strdup(name);
    return s->name ? read_spec(r, first, s) : no_memory(r);
}

/* The setting goes to every entry of that id. */
static qc_status read_setting(const reader *r, size_t first)
{
    const ini_item *i = &r->ini->items[first];
    const char *id = i->section + strlen("setting:");
    const char *dot = strchr(id, '.');
    if (!dot || !is_name(dot + 1))
        return wrong(r, i->line, "[%s]: want [setting:ID.NAME]", i->section);
    size_t n_id = (size_t)(dot - id), found = 0;
    for (size_t k = 0; k < r->m->n_entries; k++) {
        plugin_entry *e = &r->m->entries[k];
        if (strlen(e->id) != n_id || memcmp(e->id, id, n_id) != 0)
            continue;
        qc_status status = add_setting(r, e, dot + 1, first);
        if (status != QC_OK)
            return status;
        found++;
    }
    if (!found)
        return wrong(r, i->line, "[%s]: no section [kind:%.*s]", i->section, (int)n_id, id);
    warn_unknown_setting_keys(r, first);
    return QC_OK;
}

/* ---- the file ---- */

static qc_status read_item(const reader *r, size_t n, int begins)
{
    const ini_item *i = &r->ini->items[n];
    if (!strcmp(i->section, "plugin"))
        return read_plugin_key(r, i);
    if (!strcmp(i->section, "requires"))
        return read_requires_key(r, i);
    if (has_prefix(i->section, "setting:"))
        return QC_OK; /* after all ids are known */
    const char *colon = strchr(i->section, ':');
    if (!colon || colon == i->section)
        return wrong(r, i->line, "unknown section [%s]; want [plugin], [requires], [kind:id] or [setting:id.name]",
                     i->section);
    qc_status status = begins ? add_entry(r, i, colon) : QC_OK;
    return status == QC_OK ? read_entry_key(r, i) : status;
}

static qc_status read_all(const reader *r)
{
    const ini_file *f = r->ini;
    qc_status status = QC_OK;
    for (size_t i = 0; i < f->n && status == QC_OK; i++)
        status = read_item(r, i, i == 0 || strcmp(f->items[i].section, f->items[i - 1].section) != 0);
    for (size_t i = 0; i < f->n && status == QC_OK; i++)
        if (has_prefix(f->items[i].section, "setting:") &&
            (i == 0 || strcmp(f->items[i].section, f->items[i - 1].section) != 0))
            status = read_setting(r, i);
    if (status == QC_OK)
        status = check_plugin(r);
    for (size_t k = 0; status == QC_OK && k < r->m->n_entries; k++)
        if (!r->m->entries[k].summary)
            return qc_fail(r->job, QC_E_CORRUPT, "%s: [%s:%s] has no summary", f->path, r->m->entries[k].kind,
                           r->m->entries[k].id);
    return status;
}

static qc_status from_ini(qc_job *job, const ini_file *ini, manifest **out)
{
    reader r = {job, ini, manifest_new(ini->path)};
    qc_status status = r.m ? read_all(&r) : no_memory(&r);
    if (status == QC_OK)
        *out = r.m;
    else
        manifest_free(r.m);
    return status;
}

qc_status manifest_parse(qc_job *job, const char *path, const char *text, size_t length, manifest **out)
{
    ini_file ini;
    *out = NULL;
    qc_status status = ini_file_parse(job, path, text, length, &ini);
    if (status == QC_OK)
        status = from_ini(job, &ini, out);
    ini_file_free(&ini);
    return status;
}

qc_status manifest_read(qc_job *job, const char *path, manifest **out)
{
    ini_file ini;
    *out = NULL;
    qc_status status = ini_file_read(job, path, &ini);
    if (status == QC_OK)
        status = from_ini(job, &ini, out);
    ini_file_free(&ini);
    return status;
}
