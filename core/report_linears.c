#include "core/report_linears.h"
#include "core/units.h"

enum { MOST_LINES = 80, NAME_WIDTH = 40 }; /* of a small model all; of others those that lost most */

/* All that is printed: how wide, and how many linears are shown and were measured. */
typedef struct linear_table {
    const linear_result *linears;
    size_t n, shown, measured;
    int encoding_width;
    double before, after; /* sums of relative errors */
} linear_table;

/* Its outputs were measured, or its method told something of it. */
static int is_shown(const linear_result *l)
{
    return l->energy > 0 || l->n_figures > 0;
}

static double loss(const linear_result *l)
{
    return ratio(l->error, l->energy);
}

static void name_text(const linear_result *l, char text[NAME_WIDTH + 1])
{
    if (l->expert < 0)
        snprintf(text, NAME_WIDTH + 1, "%s", l->item->tensor->name);
    else
        snprintf(text, NAME_WIDTH + 1, "%.26s[%u]", l->item->tensor->name, (unsigned)l->expert);
}

static int same_figure(const job_figure *a, const job_figure *b)
{
    return !strcmp(a->name, b->name) && a->value <= b->value && a->value >= b->value;
}

static int has_figure(const linear_result *l, const job_figure *figure)
{
    for (size_t i = 0; i < l->n_figures; i++)
        if (same_figure(&l->figures[i], figure))
            return 1;
    return 0;
}

/* What is the same for all is said once, below the table. */
static int is_common(const linear_table *t, const job_figure *figure)
{
    for (size_t i = 0; i < t->n; i++)
        if (is_shown(&t->linears[i]) && !has_figure(&t->linears[i], figure))
            return 0;
    return t->shown > 1;
}

/* "damping 0.01, alpha 0.35": those that are common, or those that are not. */
static void figures_text(const linear_table *t, const linear_result *l, int common, char *text, size_t size)
{
    size_t used = 0;
    text[0] = 0;
    for (size_t i = 0; i < l->n_figures && used < size; i++) {
        double value = l->figures[i].value;
        int precision = value >= 1000 && value < 1e15 ? 15 : 4; /* counts whole */
        if (is_common(t, &l->figures[i]) == common)
            used += (size_t)snprintf(text + used, size - used, "%s%s %.*g", used ? ", " : "", l->figures[i].name,
                                     precision, value);
    }
}

static void print_line(const linear_table *t, const linear_result *l, FILE *file)
{
    char name[NAME_WIDTH + 1], figures[200];
    name_text(l, name);
    figures_text(t, l, 0, figures, sizeof figures);
    fprintf(file, "  %-*s  %-*s", NAME_WIDTH - 12, name, t->encoding_width, l->item->encoding);
    if (l->energy > 0)
        fprintf(file, "  %9.3e  %9.3e  %6.1f %%", ratio(l->rtn_error, l->energy), loss(l),
                100 * ratio(l->error, l->rtn_error));
    fprintf(file, "%s%s\n", figures[0] ? "  " : "", figures);
}

/* How many have a larger loss, or the same and come before. */
static size_t rank_of(const linear_result *linears, size_t n, size_t one)
{
    size_t rank = 0;
    for (size_t i = 0; i < n; i++)
        rank += is_shown(&linears[i]) &&
                (loss(&linears[i]) > loss(&linears[one]) || (loss(&linears[i]) >= loss(&linears[one]) && i < one));
    return rank;
}

static linear_table describe(const linear_result *linears, size_t n)
{
    linear_table t = {.linears = linears, .n = n, .encoding_width = 10};
    for (size_t i = 0; i < n; i++) {
        int width = (int)strlen(linears[i].item->encoding);
        if (!is_shown(&linears[i]))
            continue;
        t.shown++;
        t.measured += linears[i].energy > 0;
        t.before += ratio(linears[i].rtn_error, linears[i].energy);
        t.after += loss(&linears[i]);
        t.encoding_width = width > t.encoding_width ? width : t.encoding_width;
    }
    return t;
}

static void print_heading(const linear_table *t, FILE *file)
{
    if (t->measured)
        fprintf(file, "\n  %-*s  %-*s  %9s  %9s  %8s\n", NAME_WIDTH - 12, "outputs of a linear", t->encoding_width,
                "encoding", "nearest", "written", "ratio");
    else
        fprintf(file, "\n  %-*s  %s\n", NAME_WIDTH - 12, "linear", "encoding");
}

/* What holds for all lines, and what their numbers are. */
static void print_notes(const linear_table *t, FILE *file)
{
    char figures[200] = "";
    if (t->measured)
        fprintf(file, "  %-*s  %-*s  %9.3e  %9.3e  %6.1f %%\n", NAME_WIDTH - 12, "mean", t->encoding_width, "",
                t->before / (double)t->measured, t->after / (double)t->measured, 100 * ratio(t->after, t->before));
    if (t->shown > MOST_LINES)
        fprintf(file, "  the %d of %zu that lost most; --json has all\n", MOST_LINES, t->shown);
    for (size_t i = 0; i < t->n && !figures[0]; i++)
        if (is_shown(&t->linears[i]))
            figures_text(t, &t->linears[i], 1, figures, sizeof figures);
    if (figures[0])
        fprintf(file, "  all of them: %s\n", figures);
    if (t->measured)
        fprintf(file,
                "  error of outputs: mean square over calibration, relative to the outputs', by about %d rows "
                "of each;\n  nearest: had every weight been rounded to the nearest, each block on its own\n",
                (int)MEASURED_ROWS);
}

void linears_print(const linear_result *linears, size_t n, FILE *file)
{
    const linear_table t = describe(linears, n);
    if (!t.shown)
        return;
    print_heading(&t, file);
    for (size_t i = 0; i < n; i++)
        if (is_shown(&linears[i]) && (t.shown <= MOST_LINES || rank_of(linears, n, i) < MOST_LINES))
            print_line(&t, &linears[i], file);
    print_notes(&t, file);
}

static void write_linear(json_out *j, const linear_result *l)
{
    put_json_object(j, NULL);
    put_json_text(j, "name", l->item->tensor->name);
    if (l->expert >= 0)
        put_json_count(j, "expert", (uint64_t)l->expert);
    put_json_text(j, "encoding", l->item->encoding);
    if (l->energy > 0) {
        put_json_number(j, "output_error_nearest", ratio(l->rtn_error, l->energy));
        put_json_number(j, "output_error", loss(l));
    }
    for (size_t i = 0; i < l->n_figures; i++) {
        char key[sizeof l->figures[i].name];
        snprintf(key, sizeof key, "%s", l->figures[i].name);
        for (char *c = key; *c; c++)
            *c = *c == ' ' ? '_' : *c;
        put_json_number(j, key, l->figures[i].value);
    }
    put_json_end_object(j);
}

void linears_json(const linear_result *linears, size_t n, json_out *out)
{
    put_json_list(out, "linears");
    for (size_t i = 0; i < n; i++)
        if (is_shown(&linears[i]))
            write_linear(out, &linears[i]);
    put_json_end_list(out);
}
