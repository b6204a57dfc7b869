#include "core/plugins_print.h"
#include "core/jsonout.h"
#include "core/manifest.h"
#include "core/settings.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *state_word(plugin_state state)
{
    static const char *const words[] = {"usable", "broken", "filtered", "unsafe", "shadowed", "skipped"};
    return words[state];
}

/* ---- text ---- */

typedef struct style {
    const char *bold, *dim, *plain;
} style;

/* Escape sequences only where somebody looks who has not asked for none (no-color.org). */
static style get_style(void)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    int wanted = !(no_color && *no_color) && isatty(STDOUT_FILENO) && !(term && !strcmp(term, "dumb"));
    return wanted ? (style){"\033[1m", "\033[2m", "\033[0m"} : (style){"", "", ""};
}

static int wider(int width, const char *text)
{
    int n = text ? (int)strlen(text) : 0;
    return n > width ? n : width;
}

static const char *or_empty(const char *text)
{
    return text ? text : "";
}

static void print_list_text(const registry *r, const plugin_entry *const *entries, size_t n)
{
    style s = get_style();
    int id_width = 0, version_width = 0;
    const char *kind = "";
    for (size_t i = 0; i < n; i++) {
        id_width = wider(id_width, entries[i]->id);
        version_width = wider(version_width, entries[i]->manifest->version);
    }
    for (size_t i = 0; i < n; i++) {
        const plugin_entry *e = entries[i];
        if (strcmp(kind, e->kind) != 0)
            printf("%s%s%s%s\n", i ? "\n" : "", s.bold, e->kind, s.plain);
        kind = e->kind;
        int usable = e->state == PLUGIN_USABLE;
        printf("  %s%-*s  %-*s  %s%s\n", usable ? "" : s.dim, id_width, e->id, version_width,
               or_empty(e->manifest->version), or_empty(e->summary), s.plain);
        char use[600];
        snprintf(use, sizeof use, "%s: %s", state_word(e->state), or_empty(e->why));
        if (usable)
            *use = 0;
        if (usable && !strcmp(e->kind, "backend"))
            backend_use(r, e, use, sizeof use);
        if (*use)
            printf("  %*s  %s\n", id_width, "", use);
    }
    if (n == 0)
        puts("no plugins");
    else
        printf("\n%zu plugin%s; CPU level %s; more: qcore plugins show ID\n", n, n == 1 ? "" : "s", registry_cpu(r));
}

static void range_text(const setting_spec *spec, char *out, size_t size)
{
    int has_min = spec->min > -SETTING_WHOLE, has_max = spec->max < SETTING_WHOLE;
    size_t used = 0;
    *out = 0;
    if (spec->type == SETTING_ENUM)
        for (char **c = spec->choices; *c && used < size; c++)
            used += (size_t)snprintf(out + used, size - used, "%s%s", c == spec->choices ? "" : " | ", *c);
    else if (spec->type != SETTING_INT && spec->type != SETTING_FLOAT)
        return;
    else if (has_min && has_max)
        snprintf(out, size, "%.15g to %.15g", spec->min, spec->max);
    else if (has_min)
        snprintf(out, size, "from %.15g", spec->min);
    else if (has_max)
        snprintf(out, size, "up to %.15g", spec->max);
}

static void default_text(const setting_spec *spec, char *out, size_t size)
{
    if (spec->type == SETTING_BOOL)
        snprintf(out, size, "%s", spec->number != 0 ? "true" : "false");
    else if (spec->text)
        snprintf(out, size, "%s", *spec->text ? spec->text : "(empty)");
    else
        snprintf(out, size, "%.15g", spec->number);
}

enum { N_COLUMNS = 5, CELL_BYTES = 256 };

/* name, type, default, range, unit */
static void setting_cells(const setting_spec *spec, char cells[N_COLUMNS][CELL_BYTES])
{
    snprintf(cells[0], CELL_BYTES, "%s", spec->name);
    snprintf(cells[1], CELL_BYTES, "%s", setting_type_words[spec->type]);
    default_text(spec, cells[2], CELL_BYTES);
    range_text(spec, cells[3], CELL_BYTES);
    snprintf(cells[4], CELL_BYTES, "%s", or_empty(spec->unit));
}

static void print_settings(const plugin_entry *e, style s)
{
    static const char *const heads[N_COLUMNS] = {"setting", "type", "default", "range", "unit"};
    char cells[N_COLUMNS][CELL_BYTES];
    int widths[N_COLUMNS];
    if (!e->n_settings)
        return;
    for (int c = 0; c < N_COLUMNS; c++)
        widths[c] = (int)strlen(heads[c]);
    for (size_t i = 0; i < e->n_settings; i++) {
        setting_cells(&e->settings[i], cells);
        for (int c = 0; c < N_COLUMNS; c++)
            widths[c] = wider(widths[c], cells[c]);
    }
    printf("\n%s", s.dim);
    for (int c = 0; c < N_COLUMNS; c++)
        printf("  %-*s", widths[c], heads[c]);
    printf("  help%s\n", s.plain);
    for (size_t i = 0; i < e->n_settings; i++) {
        setting_cells(&e->settings[i], cells);
        for (int c = 0; c < N_COLUMNS; c++)
            printf("  %-*s", widths[c], cells[c]);
        printf("  %s\n", e->settings[i].help);
    }
}

static void print_field(const char *name, const char *value)
{
    if (value && *value)
        printf("  %-12s %s\n", name, value);
}

static void print_plugin_text(const plugin_entry *e, style s)
{
    const manifest *m = e->manifest;
    char *library = m->library ? manifest_library(m) : NULL;
    printf("%s%s %s%s\n", s.bold, e->kind, e->id, s.plain);
    print_field("summary", e->summary);
    print_field("state", state_word(e->state));
    print_field("why", e->why);
    if (m->name)
        printf("  %-12s %s %s, for ABI %u.%u\n", "plugin", m->name, m->version, m->abi_major, m->abi_minor);
    print_field("source", m->source);
    print_field("licence", m->license);
    print_field("cpu", m->library ? m->cpu ? m->cpu : "any" : NULL);
    for (size_t i = 0; i < e->n_keys; i++)
        print_field(e->keys[i], e->values[i]);
    print_field("manifest", m->path);
    print_field("library", library);
    print_settings(e, s);
    free(library);
}

/* ---- JSON ---- */

static void put_default(json_out *j, const setting_spec *spec)
{
    if (spec->type == SETTING_BOOL)
        put_json_bool(j, "default", spec->number != 0);
    else if (spec->text)
        put_json_text(j, "default", spec->text);
    else
        put_json_number(j, "default", spec->number);
}

static void put_setting(json_out *j, const setting_spec *spec)
{
    put_json_object(j, NULL);
    put_json_text(j, "name", spec->name);
    put_json_text(j, "type", setting_type_words[spec->type]);
    put_default(j, spec);
    if (spec->min > -SETTING_WHOLE && (spec->type == SETTING_INT || spec->type == SETTING_FLOAT))
        put_json_number(j, "min", spec->min);
    if (spec->max < SETTING_WHOLE && (spec->type == SETTING_INT || spec->type == SETTING_FLOAT))
        put_json_number(j, "max", spec->max);
    if (spec->choices) {
        put_json_list(j, "choices");
        for (char **c = spec->choices; *c; c++)
            put_json_text(j, NULL, *c);
        put_json_end_list(j);
    }
    put_json_text(j, "unit", spec->unit);
    put_json_text(j, "help", spec->help);
    put_json_end_object(j);
}

static void put_plugin(json_out *j, const registry *r, const plugin_entry *e)
{
    const manifest *m = e->manifest;
    char *library = m->library ? manifest_library(m) : NULL, abi[32], use[600] = "";
    if (r && !strcmp(e->kind, "backend"))
        backend_use(r, e, use, sizeof use);
    snprintf(abi, sizeof abi, "%u.%u", m->abi_major, m->abi_minor);
    put_json_object(j, NULL);
    put_json_text(j, "kind", e->kind);
    put_json_text(j, "id", e->id);
    put_json_text(j, "summary", e->summary);
    put_json_text(j, "state", state_word(e->state));
    put_json_text(j, "why", e->why);
    put_json_text(j, "use", *use ? use : NULL);
    put_json_text(j, "plugin", m->name);
    put_json_text(j, "version", m->version);
    put_json_text(j, "abi", m->name ? abi : NULL);
    put_json_text(j, "source", m->source);
    put_json_text(j, "license", m->license);
    put_json_text(j, "cpu", m->cpu);
    put_json_text(j, "manifest", m->path);
    put_json_text(j, "library", library);
    put_json_object(j, "keys");
    for (size_t i = 0; i < e->n_keys; i++)
        put_json_text(j, e->keys[i], e->values[i]);
    put_json_end_object(j);
    put_json_list(j, "settings");
    for (size_t i = 0; i < e->n_settings; i++)
        put_setting(j, &e->settings[i]);
    put_json_end_list(j);
    put_json_end_object(j);
    free(library);
}

static void put_plugins(json_out *j, const registry *r, const plugin_entry *const *entries, size_t n)
{
    put_json_list(j, "plugins");
    for (size_t i = 0; i < n; i++)
        put_plugin(j, r, entries[i]);
    put_json_end_list(j);
}

void print_plugin_list(const registry *r, const plugin_entry *const *entries, size_t n, int json)
{
    json_out j = {.file = stdout};
    if (!json) {
        print_list_text(r, entries, n);
        return;
    }
    put_json_object(&j, NULL);
    put_json_text(&j, "cpu", registry_cpu(r));
    put_plugins(&j, r, entries, n);
    put_json_end_object(&j);
}

void print_plugins(const plugin_entry *const *entries, size_t n, int json)
{
    json_out j = {.file = stdout};
    if (json) {
        put_json_object(&j, NULL);
        put_plugins(&j, NULL, entries, n);
        put_json_end_object(&j);
        return;
    }
    style s = get_style();
    for (size_t i = 0; i < n; i++) {
        if (i)
            puts("");
        print_plugin_text(entries[i], s);
    }
}

/* What is meant for other machines, or for an id that is taken, is not at fault. */
static const char *check_word(const plugin_entry *e)
{
    if (e->state == PLUGIN_USABLE)
        return "ok";
    return e->state == PLUGIN_FILTERED || e->state == PLUGIN_SHADOWED || e->state == PLUGIN_SKIPPED ? "skip" : "FAIL";
}

static void put_check(json_out *j, const plugin_entry *e)
{
    put_json_object(j, NULL);
    put_json_text(j, "kind", e->kind);
    put_json_text(j, "id", e->id);
    put_json_text(j, "result", !strcmp(check_word(e), "FAIL") ? "fail" : check_word(e));
    put_json_text(j, "why", e->why);
    put_json_end_object(j);
}

static void put_checks(const plugin_entry *const *entries, size_t n)
{
    json_out j = {.file = stdout};
    put_json_object(&j, NULL);
    put_json_list(&j, "checks");
    for (size_t i = 0; i < n; i++)
        put_check(&j, entries[i]);
    put_json_end_list(&j);
    put_json_end_object(&j);
}

size_t print_checks(const plugin_entry *const *entries, size_t n, int json)
{
    size_t failed = 0;
    for (size_t i = 0; i < n; i++) {
        const plugin_entry *e = entries[i];
        failed += !strcmp(check_word(e), "FAIL");
        if (!json)
            printf("%-4s  %s:%s%s%s\n", check_word(e), e->kind, e->id, e->why ? "  " : "", e->why ? e->why : "");
    }
    if (json)
        put_checks(entries, n);
    return failed;
}
