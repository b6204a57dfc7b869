/* What inspect found, for people and for programs. */
#include "core/inspect_impl.h"
#include "core/jsonout.h"
#include "core/units.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { N_WORST = 10, NAME_COLUMNS = 48, SHAPE_TEXT = 100, INPUT_TEXT = 160, MESSAGE_TEXT = 64 };

static double share_beyond(const weight_view *w)
{
    return ratio((double)w->n_beyond, (double)w->n);
}

static int is_damaged(const weight_view *w)
{
    return w->n_nan || w->n_infinite;
}

/* Matrices of the heaviest tails, heaviest first. */
static size_t find_worst(const inspection *in, const weight_view *worst[N_WORST])
{
    size_t n = 0;
    for (size_t i = 0; i < in->model->n_tensors; i++) {
        const weight_view *w = &in->weights[i];
        size_t at = n;
        while (at > 0 && worst[at - 1]->kurtosis < w->kurtosis)
            at--;
        if (w->tensor->n_dims < 2 || !w->n || at == N_WORST)
            continue;
        n += n < N_WORST;
        memmove(&worst[at + 1], &worst[at], (n - 1 - at) * sizeof *worst);
        worst[at] = w;
    }
    return n;
}

/* ---- for people ---- */

static const char *shape_text(const model_tensor *t, char text[SHAPE_TEXT])
{
    int at = 0;
    *text = '\0';
    for (uint32_t d = 0; d < t->n_dims; d++)
        at += snprintf(text + at, (size_t)(SHAPE_TEXT - at), "%s%" PRIu64, d ? " x " : "", t->dims[d]);
    return text;
}

static const char *damage_text(const weight_view *w, char text[MESSAGE_TEXT])
{
    *text = '\0';
    if (w->n_nan && w->n_infinite)
        snprintf(text, MESSAGE_TEXT, "  %" PRIu64 " NaN, %" PRIu64 " Inf", w->n_nan, w->n_infinite);
    else if (is_damaged(w))
        snprintf(text, MESSAGE_TEXT, "  %" PRIu64 " %s", w->n_nan + w->n_infinite, w->n_nan ? "NaN" : "Inf");
    return text;
}

static const char *beyond_text(const weight_view *w, char text[MESSAGE_TEXT])
{
    if (w->n_beyond == 0)
        return "-";
    snprintf(text, MESSAGE_TEXT, "%.4f %%", 100 * share_beyond(w));
    return text;
}

/* Columns of names and of shapes, as wide as they must be. */
typedef struct widths {
    int name, shape;
} widths;

static widths find_widths(const inspection *in)
{
    widths w = {6, 5};
    char text[SHAPE_TEXT];
    for (size_t i = 0; i < in->model->n_tensors; i++) {
        int name = (int)strlen(in->model->tensors[i].name);
        int shape = (int)strlen(shape_text(&in->model->tensors[i], text));
        w.name = name > w.name ? name : w.name;
        w.shape = shape > w.shape ? shape : w.shape;
    }
    w.name = w.name > NAME_COLUMNS ? NAME_COLUMNS : w.name;
    return w;
}

static void print_weights(const weight_view *w, widths columns, FILE *file)
{
    char shape[SHAPE_TEXT], damage[MESSAGE_TEXT], beyond[MESSAGE_TEXT];
    fprintf(file, "%-*s  %-*s  %-8s", columns.name, w->tensor->name, columns.shape, shape_text(w->tensor, shape),
            w->tensor->encoding);
    if (!w->decoded)
        fputs("  no plugin decodes it\n", file);
    else
        fprintf(file, "  %#10.4g  %#10.4g  %#9.4g  %8.2f  %10s%s\n", (double)w->minimum, (double)w->maximum,
                sqrt(w->mean_square), w->kurtosis, beyond_text(w, beyond), damage_text(w, damage));
}

static void print_worst(const inspection *in, widths columns, FILE *file)
{
    const weight_view *worst[N_WORST];
    char beyond[MESSAGE_TEXT];
    size_t n = find_worst(in, worst);
    if (n)
        fprintf(file, "\n%-*s  %8s  %10s\n", columns.name, "heaviest tails", "kurtosis", "beyond 6 σ");
    for (size_t i = 0; i < n; i++)
        fprintf(file, "%-*s  %8.2f  %10s\n", columns.name, worst[i]->tensor->name, worst[i]->kurtosis,
                beyond_text(worst[i], beyond));
    fputs("\nkurtosis: 3 of a normal distribution, the larger the heavier the tails;\n"
          "beyond 6 σ: share of weights that are further than six standard deviations from the mean\n",
          file);
}

static void print_damage(const inspection *in, FILE *file)
{
    size_t n = 0;
    for (size_t i = 0; i < in->model->n_tensors; i++)
        if (is_damaged(&in->weights[i]))
            n++;
    if (n)
        fprintf(file, "\n%zu tensor%s NaN or Inf, which figures leave out and no quantization takes\n", n,
                n == 1 ? " holds" : "s hold");
}

/* "attn_k" of "blk.3.attn_k.weight": what tells apart those who share an input. */
static int short_name(const char *name, const char **from)
{
    const char *begin = name, *end = strstr(name, ".weight");
    if (!strncmp(name, "blk.", 4) && strchr(name + 4, '.'))
        begin = strchr(name + 4, '.') + 1;
    *from = begin;
    return (int)(end && end > begin ? end - begin : (long)strlen(begin));
}

/* "blk.3.attn_k, attn_q, attn_v", "blk.3.ffn_down_exps, expert 7". */
static const char *input_text(const input_view *v, char text[INPUT_TEXT])
{
    const model_tensor *first = v->tensors[0];
    int at = first->layer >= 0 ? snprintf(text, INPUT_TEXT, "blk.%d.", (int)first->layer) : 0;
    for (size_t i = 0; i < v->n_tensors && at < INPUT_TEXT; i++) {
        const char *name;
        int length = short_name(v->tensors[i]->name, &name);
        at += snprintf(text + at, (size_t)(INPUT_TEXT - at), "%s%.*s", i ? ", " : "", length, name);
    }
    if (first->dims[2] * first->dims[3] > 1 && at < INPUT_TEXT)
        snprintf(text + at, (size_t)(INPUT_TEXT - at), ", expert %" PRIu64, v->matrix);
    return text;
}

static void print_channels(const input_view *v, int width, FILE *file)
{
    char text[INPUT_TEXT];
    fprintf(file, "%-*s  %8zu  %#9.4g  %9zu  ", width, input_text(v, text), v->n_channels, (double)v->median,
            v->n_beyond);
    for (size_t i = 0; i < v->n_top && i < v->n_beyond; i++)
        fprintf(file, "%s%zu (%.1f x)", i ? ", " : "", v->top[i].channel,
                ratio((double)v->top[i].magnitude, (double)v->median));
    fputs(v->n_beyond > v->n_top ? ", ...\n" : "\n", file);
}

static void print_inputs(const inspection *in, FILE *file)
{
    char text[INPUT_TEXT];
    size_t n_beyond = 0, width = sizeof "input of" - 1;
    if (!in->n_inputs)
        return;
    for (size_t i = 0; i < in->n_inputs; i++) {
        size_t length = in->inputs[i].n_beyond ? strlen(input_text(&in->inputs[i], text)) : 0;
        n_beyond += length > 0;
        width = length > width ? length : width;
    }
    if (n_beyond)
        fprintf(file, "\n%-*s  %8s  %9s  %9s  %s\n", (int)width, "input of", "channels", "median", "beyond", "largest");
    for (size_t i = 0; i < in->n_inputs; i++)
        if (in->inputs[i].n_beyond)
            print_channels(&in->inputs[i], (int)width, file);
    fprintf(file, "\n%zu of %zu inputs have channels whose root mean square is %d times the median or more\n", n_beyond,
            in->n_inputs, INSPECT_TIMES);
}

void inspection_print(const inspection *in, FILE *file)
{
    widths columns = find_widths(in);
    fprintf(file, "%-*s  %-*s  %-8s  %10s  %10s  %9s  %8s  %10s\n", columns.name, "tensor", columns.shape, "shape",
            "encoding", "minimum", "maximum", "rms", "kurtosis", "beyond 6 σ");
    for (size_t i = 0; i < in->model->n_tensors; i++)
        print_weights(&in->weights[i], columns, file);
    print_worst(in, columns, file);
    print_damage(in, file);
    print_inputs(in, file);
}

/* ---- for programs ---- */

static void put_weights(json_out *j, const weight_view *w)
{
    put_json_object(j, NULL);
    put_json_text(j, "name", w->tensor->name);
    put_json_text(j, "role", w->tensor->role);
    put_json_list(j, "shape");
    for (uint32_t d = 0; d < w->tensor->n_dims; d++)
        put_json_count(j, NULL, w->tensor->dims[d]);
    put_json_end_list(j);
    put_json_text(j, "encoding", w->tensor->encoding);
    put_json_bool(j, "decoded", w->decoded);
    if (w->decoded) {
        put_json_count(j, "finite", w->n);
        put_json_count(j, "nan", w->n_nan);
        put_json_count(j, "infinite", w->n_infinite);
        put_json_number(j, "minimum", (double)w->minimum);
        put_json_number(j, "maximum", (double)w->maximum);
        put_json_number(j, "mean", w->mean);
        put_json_number(j, "root_mean_square", sqrt(w->mean_square));
        put_json_number(j, "standard_deviation", w->deviation);
        put_json_number(j, "kurtosis", w->kurtosis);
        put_json_count(j, "beyond_6_sigma", w->n_beyond);
        put_json_number(j, "share_beyond_6_sigma", share_beyond(w));
    }
    put_json_end_object(j);
}

static void put_channels(json_out *j, const input_view *v)
{
    put_json_list(j, "largest");
    for (size_t i = 0; i < v->n_top; i++) {
        put_json_object(j, NULL);
        put_json_count(j, "channel", v->top[i].channel);
        put_json_number(j, "root_mean_square", (double)v->top[i].magnitude);
        put_json_number(j, "times_median", ratio((double)v->top[i].magnitude, (double)v->median));
        if (v->top[i].largest >= 0)
            put_json_number(j, "absolute_maximum", (double)v->top[i].largest);
        put_json_end_object(j);
    }
    put_json_end_list(j);
}

static void put_input(json_out *j, const input_view *v)
{
    put_json_object(j, NULL);
    put_json_list(j, "tensors");
    for (size_t i = 0; i < v->n_tensors; i++)
        put_json_text(j, NULL, v->tensors[i]->name);
    put_json_end_list(j);
    if (v->tensors[0]->dims[2] * v->tensors[0]->dims[3] > 1)
        put_json_count(j, "expert", v->matrix);
    put_json_count(j, "tokens", v->n_tokens);
    put_json_count(j, "channels", v->n_channels);
    put_json_number(j, "median_root_mean_square", (double)v->median);
    put_json_count(j, "beyond_6_times_median", v->n_beyond);
    put_channels(j, v);
    put_json_end_object(j);
}

void inspection_json(const inspection *in, FILE *file)
{
    json_out j = {.file = file};
    const weight_view *worst[N_WORST];
    size_t n = find_worst(in, worst);
    put_json_object(&j, NULL);
    put_json_text(&j, "model", in->model->path);
    put_json_list(&j, "tensors");
    for (size_t i = 0; i < in->model->n_tensors; i++)
        put_weights(&j, &in->weights[i]);
    put_json_end_list(&j);
    put_json_list(&j, "heaviest_tails");
    for (size_t i = 0; i < n; i++)
        put_json_text(&j, NULL, worst[i]->tensor->name);
    put_json_end_list(&j);
    put_json_list(&j, "inputs");
    for (size_t i = 0; i < in->n_inputs; i++)
        put_input(&j, &in->inputs[i]);
    put_json_end_list(&j);
    put_json_end_object(&j);
}
