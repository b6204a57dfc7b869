#include "core/settings.h"
#include "core/suggest.h"
#include "core/text.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const setting_type_words[] = {"int", "float", "bool", "text", "enum"};

typedef struct setting_value {
    const char *name; /* the manifest's */
    double number;
    char *text; /* of text and enum */
} setting_value;

struct qc_settings {
    size_t n;
    setting_value values[];
};

static const setting_value *find_value(const qc_settings *s, const char *name)
{
    for (size_t i = 0; s && i < s->n; i++)
        if (!strcmp(s->values[i].name, name))
            return &s->values[i];
    return NULL;
}

double settings_number(const qc_settings *s, const char *name)
{
    const setting_value *v = find_value(s, name);
    return v ? v->number : 0;
}

const char *settings_text(const qc_settings *s, const char *name)
{
    const setting_value *v = find_value(s, name);
    return v && v->text ? v->text : "";
}

void settings_free(qc_settings *s)
{
    for (size_t i = 0; s && i < s->n; i++)
        free(s->values[i].text);
    free(s);
}

/* ---- one value ---- */

static int parse_bool(const char *text, double *number)
{
    int value;
    if (!text_to_bool(text, &value))
        return 0;
    *number = value;
    return 1;
}

static int is_choice(char **choices, const char *text)
{
    for (; choices && *choices; choices++)
        if (!strcmp(*choices, text))
            return 1;
    return 0;
}

static void join_choices(char **choices, char *want, size_t n)
{
    size_t used = (size_t)snprintf(want, n, "one of");
    for (; choices && *choices && used < n; choices++)
        used += (size_t)snprintf(want + used, n - used, " %s%s", *choices, choices[1] ? "," : "");
}

static void describe_range(const setting_spec *spec, char *want, size_t n)
{
    const char *what = spec->type == SETTING_INT ? "a whole number" : "a number";
    int has_min = spec->min > -SETTING_WHOLE, has_max = spec->max < SETTING_WHOLE;
    if (has_min && has_max)
        snprintf(want, n, "%s from %.15g to %.15g", what, spec->min, spec->max);
    else if (has_min)
        snprintf(want, n, "%s, at least %.15g", what, spec->min);
    else if (has_max)
        snprintf(want, n, "%s, at most %.15g", what, spec->max);
    else
        snprintf(want, n, "%s", what);
}

int setting_parse(const setting_spec *spec, const char *text, double *number, char *want, size_t n_want)
{
    switch (spec->type) {
    case SETTING_TEXT:
        return 1;
    case SETTING_ENUM:
        join_choices(spec->choices, want, n_want);
        return is_choice(spec->choices, text);
    case SETTING_BOOL:
        snprintf(want, n_want, "true or false");
        return parse_bool(text, number);
    case SETTING_INT:
    case SETTING_FLOAT:
        break;
    }
    double value;
    describe_range(spec, want, n_want);
    if (!text_to_double(text, &value) || value < spec->min || value > spec->max ||
        (spec->type == SETTING_INT && value != rint(value)))
        return 0;
    *number = value;
    return 1;
}

/* ---- all of them ---- */

static qc_status unknown_setting(qc_job *job, const plugin_entry *e, const char *name)
{
    if (e->n_settings == 0)
        return qc_fail(job, QC_E_INVALID, "%s %s has no settings, so no '%s'", e->kind, e->id, name);
    const char *nearest = NULL;
    for (size_t i = 0; i < e->n_settings; i++)
        nearest = suggest_better(name, nearest, e->settings[i].name);
    if (nearest)
        return qc_fail(job, QC_E_INVALID, "%s %s has no setting '%s'; did you mean '%s'?", e->kind, e->id, name,
                       nearest);
    return qc_fail(job, QC_E_INVALID, "%s %s has no setting '%s' (see qcore plugins show %s:%s)", e->kind, e->id, name,
                   e->kind, e->id);
}

static qc_status set_value(qc_job *job, const plugin_entry *e, qc_settings *s, const char *name, const char *text)
{
    char want[256] = "";
    size_t i = 0;
    while (i < e->n_settings && strcmp(e->settings[i].name, name) != 0)
        i++;
    if (i == e->n_settings)
        return unknown_setting(job, e, name);
    const setting_spec *spec = &e->settings[i];
    if (!setting_parse(spec, text, &s->values[i].number, want, sizeof want))
        return qc_fail(job, QC_E_INVALID, "%s %s: setting '%s' is '%s', want %s", e->kind, e->id, name, text, want);
    if (spec->type != SETTING_TEXT && spec->type != SETTING_ENUM)
        return QC_OK;
    free(s->values[i].text);
    s->values[i].text = strdup(text);
    return s->values[i].text ? QC_OK : job->fail(job, QC_E_NOMEM, "out of memory for settings");
}

static qc_settings *defaults(const plugin_entry *e)
{
    qc_settings *s = calloc(1, sizeof *s + e->n_settings * sizeof s->values[0]);
    if (!s)
        return NULL;
    s->n = e->n_settings;
    for (size_t i = 0; i < s->n; i++) {
        const setting_spec *spec = &e->settings[i];
        s->values[i] = (setting_value){spec->name, spec->number, spec->text ? strdup(spec->text) : NULL};
        if (spec->text && !s->values[i].text) {
            settings_free(s);
            return NULL;
        }
    }
    return s;
}

qc_status settings_new(qc_job *job, const plugin_entry *e, const char *const *names, const char *const *values,
                       size_t n, qc_settings **out)
{
    *out = NULL;
    qc_settings *s = defaults(e);
    if (!s)
        return job->fail(job, QC_E_NOMEM, "out of memory for settings");
    for (size_t i = 0; i < n; i++) {
        qc_status status = set_value(job, e, s, names[i], values[i]);
        if (status != QC_OK) {
            settings_free(s);
            return status;
        }
    }
    *out = s;
    return QC_OK;
}
