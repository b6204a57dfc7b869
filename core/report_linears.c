#include "core/report_linears.h"
#include "core/units.h"

enum { MOST_LINES = 80, NAME_WIDTH = 40 }; /* of a small model all; of others those that lost most */

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

/* "damping 0.01, alpha 0.35" */
static void figures_text(const linear_result *l, char *text, size_t size)
{
    size_t used = 0;
    text[0] = 0;
    for (size_t i = 0; i < l->n_figures && used < size; i++) {
        double value = l->figures[i].value;
        int precision = value >= 1000 && value < 1e15 ? 15 : 4; /* counts whole */
        used += (size_t)snprintf(text + used, size - used, "%s%s %.*g", i ? ", " : "", l->figures[i].name, precision,
                                 value);
    }
}

static void print_line(const linear_result *l, FILE *file)
{
    char name[NAME_WIDTH + 1], figures[200];
    name_text(l, name);
    figures_text(l, figures, sizeof figures);
    fprintf(file, "  %-*s  %-10s  %9.3e  %9.3e  %6.1f %%%s%s\n", NAME_WIDTH - 12, name, l->item->encoding,
            ratio(l->rtn_error, l->energy), loss(l), 100 * ratio(l->error, l->rtn_error), figures[0] ? "  " : "",
            figures);
}

/* How many have a larger loss, or the same and come before. */
static size_t rank_of(const linear_result *linears, size_t n, size_t one)
{
    size_t rank = 0;
    for (size_t i = 0; i < n; i++)
        rank += linears[i].energy > 0 &&
                (loss(&linears[i]) > loss(&linears[one]) || (loss(&linears[i]) >= loss(&linears[one]) && i < one));
    return rank;
}

void linears_print(const linear_result *linears, size_t n, FILE *file)
{
    size_t measured = 0;
    double before = 0, after = 0, energy = 0;
    for (size_t i = 0; i < n; i++) {
        measured += linears[i].energy > 0;
        before += ratio(linears[i].rtn_error, linears[i].energy);
        after += loss(&linears[i]);
        energy += linears[i].energy > 0;
    }
    if (!measured)
        return;
    fprintf(file, "\n  %-*s  %-10s  %9s  %9s  %8s\n", NAME_WIDTH - 12, "outputs of a linear", "encoding", "nearest",
            "written", "ratio");
    for (size_t i = 0; i < n; i++)
        if (linears[i].energy > 0 && (measured <= MOST_LINES || rank_of(linears, n, i) < MOST_LINES))
            print_line(&linears[i], file);
    if (measured > MOST_LINES)
        fprintf(file, "  (the %d of %zu that lost most; --json has all)\n", MOST_LINES, measured);
    fprintf(file, "  %-*s  %-10s  %9.3e  %9.3e  %6.1f %%\n", NAME_WIDTH - 12, "mean", "", before / energy,
            after / energy, 100 * ratio(after, before));
    fprintf(file,
            "  error of outputs: mean square over the calibration text, relative to the outputs', by about %d rows of "
            "each;\n  nearest: had every weight been rounded to the nearest, each block on its own\n",
            (int)MEASURED_ROWS);
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
        if (linears[i].energy > 0 || linears[i].n_figures)
            write_linear(out, &linears[i]);
    put_json_end_list(out);
}
