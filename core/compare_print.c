/* The comparison as a table. Which figures are columns, and what they are called, metrics say themselves. */
#include "core/compare.h"
#include "core/table.h"
#include "core/units.h"
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { HEADING = 96, CELL = 96 };

typedef void (*for_figure)(table *t, const comparison *c, const figure *of_original, const compared *row);

/* All figures that are columns: those of the original. row NULL: the heading. */
static void for_columns(table *t, const comparison *c, const compared *row, for_figure put)
{
    const evaluation *e = &c->rows[0].judgement.metrics;
    for (size_t i = 0; i < e->n_figures; i++)
        if (e->figures[i].flags & QC_FIGURE_MAIN)
            put(t, c, &e->figures[i], row);
}

static size_t n_columns(const comparison *c, size_t each)
{
    const evaluation *e = &c->rows[0].judgement.metrics;
    size_t n = 0;
    for (size_t i = 0; i < e->n_figures; i++)
        n += e->figures[i].flags & QC_FIGURE_MAIN ? each : 0;
    return n;
}

static double change(const comparison *c, const compared *row)
{
    return ratio((double)row->bytes, (double)c->rows[0].bytes) - 1;
}

/* ---- for people ---- */

/* The manifest's short name for a metric ("short = PPL"), or its own. */
static const char *short_name(const registry *r, const char *metric)
{
    const plugin_entry *e = registry_entry(r, "metric", metric);
    const char *name = e ? entry_value(e, "short") : NULL;
    return name ? name : metric;
}

/* "value" of perplexity is perplexity, "difference" of it its Δ; "sum.accuracy" is sum; "same_top" is same top. */
static void name_column(const registry *r, const figure *f, char text[HEADING])
{
    static const char accuracy[] = ".accuracy";
    size_t n = strlen(f->name), k = sizeof accuracy - 1;
    if (!strcmp(f->name, "value") || !strcmp(f->name, accuracy + 1))
        snprintf(text, HEADING, "%s", f->metric);
    else if (!strcmp(f->name, "mean"))
        snprintf(text, HEADING, "%s", short_name(r, f->metric));
    else if (!strcmp(f->name, "difference"))
        snprintf(text, HEADING, "Δ%s", short_name(r, f->metric));
    else if (n > k && !strcmp(f->name + n - k, accuracy))
        snprintf(text, HEADING, "%.*s", (int)(n - k), f->name);
    else
        snprintf(text, HEADING, "%s", f->name);
    for (char *at = text; *at; at++)
        *at = *at == '_' ? ' ' : *at;
}

/* What is the same by its nature has no error to show: KLD 0 of the original to itself. */
static void put_figure(table *t, const figure *f)
{
    static const char sign[] = " ± ";
    char text[CELL];
    if (!f) {
        table_put(t, "-", NULL);
        return;
    }
    if (f->error == 0) {
        int percent = (f->flags & QC_FIGURE_PERCENT) != 0;
        snprintf(text, sizeof text, "%g%s", percent ? 100 * f->value : f->value, percent ? " %" : "");
        table_put(t, text, NULL);
        return;
    }
    figure_text(f, text, sizeof text);
    char *error = strstr(text, sign);
    if (error)
        *error++ = '\0';
    table_put(t, text, error);
}

static void put_text(table *t, const comparison *c, const figure *column, const compared *row)
{
    char heading[HEADING];
    if (row) {
        put_figure(t, evaluation_figure(&row->judgement.metrics, column->metric, column->name));
        return;
    }
    name_column(c->registry, column, heading);
    table_put(t, heading, NULL);
}

static void put_shown_row(table *t, const comparison *c, const compared *row)
{
    char text[CELL], size[BYTES_TEXT];
    table_put(t, row->name, NULL);
    snprintf(text, sizeof text, "%.3f", row->bits);
    table_put(t, text, NULL);
    table_put(t, bytes_text(row->bytes, size), NULL);
    snprintf(text, sizeof text, "%.1f %%", 100 * change(c, row));
    table_put(t, row == c->rows ? "-" : text, NULL);
    for_columns(t, c, row, put_text);
}

static table shown_table(const comparison *c)
{
    static const char *const headings[] = {"scheme", "bpw", "size", "Δsize"};
    table t = {.n_columns = 4 + n_columns(c, 1)};
    for (size_t i = 0; i < 4; i++)
        table_put(&t, headings[i], NULL);
    for_columns(&t, c, NULL, put_text);
    for (size_t i = 0; i < c->n_rows; i++)
        put_shown_row(&t, c, &c->rows[i]);
    return t;
}

/* Of a terminal; 0: output goes elsewhere, where lines may be long. */
static size_t terminal_width(void)
{
    struct winsize size;
    return isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

/* ---- for programs ---- */

static void put_number(table *t, int known, double value)
{
    char text[NUMBER_TEXT];
    table_put(t, known ? number_text(value, text) : "", NULL);
}

/* Two columns a figure: "kld.mean", "kld.mean.error". */
static void put_plain(table *t, const comparison *c, const figure *column, const compared *row)
{
    char heading[HEADING];
    (void)c;
    if (!row) {
        snprintf(heading, sizeof heading, "%s.%s", column->metric, column->name);
        table_put(t, heading, NULL);
        snprintf(heading, sizeof heading, "%s.%s.error", column->metric, column->name);
        table_put(t, heading, NULL);
        return;
    }
    const figure *f = evaluation_figure(&row->judgement.metrics, column->metric, column->name);
    put_number(t, f != NULL, f ? f->value : 0);
    put_number(t, f && f->error >= 0, f ? f->error : 0);
}

static table plain_table(const comparison *c)
{
    static const char *const headings[] = {"scheme", "bits_per_weight", "bytes", "size_change"};
    table t = {.n_columns = 4 + n_columns(c, 2)};
    for (size_t i = 0; i < 4; i++)
        table_put(&t, headings[i], NULL);
    for_columns(&t, c, NULL, put_plain);
    for (size_t i = 0; i < c->n_rows; i++) {
        const compared *row = &c->rows[i];
        table_put(&t, row->name, NULL);
        put_number(&t, 1, row->bits);
        put_number(&t, 1, (double)row->bytes);
        put_number(&t, 1, change(c, row));
        for_columns(&t, c, row, put_plain);
    }
    return t;
}

static void print_json(const comparison *c, FILE *file)
{
    json_out j = {.file = file};
    put_json_object(&j, NULL);
    put_json_text(&j, "model", c->model);
    put_json_bool(&j, "complete", c->n_rows == c->n_wanted);
    put_json_list(&j, "schemes");
    for (size_t i = 0; i < c->n_rows; i++) {
        const compared *row = &c->rows[i];
        put_json_object(&j, NULL);
        put_json_text(&j, "scheme", row->name);
        put_json_text(&j, "file", row->file);
        put_json_number(&j, "bits_per_weight", row->bits);
        put_json_count(&j, "bytes", row->bytes);
        put_json_number(&j, "size_change", change(c, row));
        put_json_number(&j, "seconds", row->seconds);
        judgement_json(&row->judgement, &j);
        put_json_end_object(&j);
    }
    put_json_end_list(&j);
    put_json_end_object(&j);
}

qc_status comparison_print(const comparison *c, qc_job *job, table_format format, FILE *file)
{
    if (c->n_rows == 0)
        return QC_OK;
    if (format == TABLE_JSON) {
        print_json(c, file);
        return QC_OK;
    }
    table t = format == TABLE_CSV ? plain_table(c) : shown_table(c);
    qc_status status = t.failed ? qc_fail(job, QC_E_NOMEM, "out of memory for the table") : QC_OK;
    if (status == QC_OK && format == TABLE_CSV)
        table_print_csv(&t, file);
    else if (status == QC_OK && format == TABLE_MARKDOWN)
        table_print_markdown(&t, file);
    else if (status == QC_OK)
        table_print_text(&t, terminal_width(), file);
    table_free(&t);
    return status;
}
