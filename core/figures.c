#include "core/figures.h"
#include "core/array.h"
#include "core/evaluate.h"
#include <math.h>

typedef struct figure_sink {
    qc_figures api; /* first: what the metric sees */
    evaluation *into;
    const char *metric;
} figure_sink;

static char *copy_text(const char *text)
{
    return text ? strdup(text) : NULL;
}

static qc_status add_figure(const qc_figures *out, qc_job *job, const qc_figure *theirs)
{
    const figure_sink *sink = (const figure_sink *)(const void *)out;
    evaluation *e = sink->into;
    if (!theirs->name || !*theirs->name || evaluation_figure(e, sink->metric, theirs->name))
        return qc_fail(job, QC_E_INTERNAL, "the figure '%.100s' has no name of its own",
                       theirs->name ? theirs->name : "");
    if (!array_reserve(&e->figures, &e->capacity, e->n_figures, sizeof *e->figures))
        return qc_fail(job, QC_E_NOMEM, "out of memory for figures");
    figure *f = &e->figures[e->n_figures++];
    double error = isfinite(theirs->error) ? theirs->error : -1.0; /* none that could be told */
    *f = (figure){copy_text(sink->metric), copy_text(theirs->name), theirs->value, error, theirs->flags};
    return f->metric && f->name ? QC_OK : qc_fail(job, QC_E_NOMEM, "out of memory for figures");
}

qc_status figures_collect(qc_job *job, const qc_metric_desc *metric, const void *state, const char *label,
                          evaluation *into)
{
    const figure_sink sink = {{sizeof sink.api, add_figure}, into, label};
    return metric->report(job, state, &sink.api);
}

void evaluation_free(evaluation *e)
{
    for (size_t i = 0; i < e->n_figures; i++) {
        free(e->figures[i].metric);
        free(e->figures[i].name);
    }
    free(e->figures);
    *e = (evaluation){0};
}

const figure *evaluation_figure(const evaluation *e, const char *metric, const char *name)
{
    for (size_t i = 0; i < e->n_figures; i++)
        if (!strcmp(e->figures[i].metric, metric) && !strcmp(e->figures[i].name, name))
            return &e->figures[i];
    return NULL;
}

/* Decimals that show so many digits of x from the first that is not 0. */
static int decimals(double x, int digits)
{
    int before = 0;
    if (!(x > 0) || !isfinite(x))
        return digits;
    while (x >= 1.0) {
        x /= 10;
        before++;
    }
    while (x < 0.1) {
        x *= 10;
        before--;
    }
    int n = digits - before;
    return n < 0 ? 0 : n > 12 ? 12 : n;
}

/* Two digits of the error; two decimals of a share without one. Five digits of other values: models are compared by more
 * than the text's own error leaves certain, since that is the same for both. */
static int places_of(double value, double error, int is_share)
{
    if (!(error > 0))
        return is_share ? 2 : decimals(fabs(value), 6);
    int n = decimals(error, 2), more = is_share || fabs(value) < error ? 0 : decimals(fabs(value), 5);
    return n > more ? n : more;
}

const char *figure_text(const figure *f, char *text, size_t size)
{
    double scale = f->flags & QC_FIGURE_PERCENT ? 100.0 : 1.0, value = f->value * scale, error = f->error * scale;
    const char *unit = f->flags & QC_FIGURE_PERCENT ? " %" : "";
    int places = places_of(value, error, (f->flags & QC_FIGURE_PERCENT) != 0);
    if (f->flags & QC_FIGURE_COUNT)
        snprintf(text, size, "%.0f", value);
    else if (error < 0 && value != 0 && fabs(value) < 1e-4)
        snprintf(text, size, "%.5e%s", value, unit);
    else if (!(error > 0))
        snprintf(text, size, "%.*f%s%s", places, value, unit, error < 0 ? "" : " ± 0");
    else
        snprintf(text, size, "%.*f%s ± %.*f%s", places, value, unit, places, error, unit);
    return text;
}

static int width_of(const evaluation *e, int names)
{
    int most = (int)sizeof "metric" - 1; /* as long as "figure" */
    for (size_t i = 0; i < e->n_figures; i++) {
        int n = (int)strlen(names ? e->figures[i].name : e->figures[i].metric);
        most = n > most ? n : most;
    }
    return most;
}

void evaluation_print(const evaluation *e, FILE *file)
{
    int metric = width_of(e, 0), name = width_of(e, 1);
    char text[96];
    if (e->n_windows)
        fprintf(file, "%zu tokens of text in %zu window%s, %.1f s%s\n", e->n_tokens, e->n_windows,
                e->n_windows == 1 ? "" : "s", e->seconds, e->quantized ? ", quantized matmul" : "");
    fprintf(file, "%-*s  %-*s  value\n", metric, "metric", name, "figure");
    for (size_t i = 0; i < e->n_figures; i++) {
        const figure *f = &e->figures[i];
        int same = i > 0 && !strcmp(f->metric, e->figures[i - 1].metric);
        fprintf(file, "%-*s  %-*s  %s\n", metric, same ? "" : f->metric, name, f->name,
                figure_text(f, text, sizeof text));
    }
}

void evaluation_json(const evaluation *e, json_out *out)
{
    put_json_count(out, "tokens", e->n_tokens);
    put_json_count(out, "windows", e->n_windows);
    put_json_text(out, "matmul", e->quantized ? "quantized" : "exact");
    put_json_object(out, "metrics");
    for (size_t i = 0; i < e->n_figures; i++) {
        const figure *f = &e->figures[i];
        if (i == 0 || strcmp(f->metric, e->figures[i - 1].metric) != 0)
            put_json_object(out, f->metric);
        put_json_object(out, f->name);
        put_json_number(out, "value", f->value);
        if (f->error >= 0)
            put_json_number(out, "error", f->error);
        put_json_end_object(out);
        if (i + 1 == e->n_figures || strcmp(f->metric, e->figures[i + 1].metric) != 0)
            put_json_end_object(out);
    }
    put_json_end_object(out);
}
