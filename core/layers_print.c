#include "core/layers.h"
#include "core/units.h"
#include <math.h>
#include <stdlib.h>

enum { N_WORST = 10 };

/* Relative errors, as sizes of vectors: ||(W - Wq) X|| / ||W X||, and the same of W alone. */
static double output_error(const layer_loss *l)
{
    return sqrt(ratio(l->output_error, l->output_energy));
}

static double weight_error(const layer_loss *l)
{
    return sqrt(ratio(l->weight_error, l->weight_energy));
}

static int by_output_error(const void *a, const void *b)
{
    const layer_loss *x = *(const layer_loss *const *)a, *y = *(const layer_loss *const *)b;
    double e = output_error(x), f = output_error(y);
    if (e != f)
        return e > f ? -1 : 1;
    return (x > y) - (x < y); /* in the order of the pass */
}

/* All of them, the worst first; owned: free. */
static const layer_loss **rank(const layer_view *v)
{
    const layer_loss **order = malloc((v->n + 1) * sizeof(const layer_loss *));
    for (size_t i = 0; order && i < v->n; i++)
        order[i] = &v->losses[i];
    if (order && v->n)
        qsort(order, v->n, sizeof(const layer_loss *), by_output_error);
    return order;
}

static void put_name(const layer_loss *l, FILE *file)
{
    fputs(l->tensor->name, file);
    if (l->expert >= 0)
        fprintf(file, ", expert %d", (int)l->expert);
    putc('\n', file);
}

void layers_print(const layer_view *v, size_t n_worst, FILE *file)
{
    const layer_loss **order = rank(v);
    size_t n = n_worst < v->n ? n_worst : v->n;
    if (!order)
        return;
    fprintf(file, "Layers: the worst %zu of %zu by the error of their outputs over %zu tokens\n", n, v->n, v->n_tokens);
    fprintf(file, "  %8s  %8s\n", "outputs", "weights");
    for (size_t i = 0; i < n; i++) {
        fprintf(file, "  %6.2f %%  %6.2f %%  ", 100 * output_error(order[i]), 100 * weight_error(order[i]));
        put_name(order[i], file);
    }
    free(order);
}

static void put_loss(const layer_loss *l, json_out *out)
{
    put_json_object(out, NULL);
    put_json_text(out, "tensor", l->tensor->name);
    if (l->expert >= 0)
        put_json_count(out, "expert", (uint64_t)l->expert);
    put_json_number(out, "output_error", output_error(l));
    put_json_number(out, "weight_error", weight_error(l));
    put_json_end_object(out);
}

void layers_json(const layer_view *v, json_out *out)
{
    const layer_loss **order = rank(v);
    put_json_list(out, "layers");
    for (size_t i = 0; i < v->n; i++)
        put_loss(&v->losses[i], out);
    put_json_end_list(out);
    put_json_list(out, "worst");
    for (size_t i = 0; order && i < N_WORST && i < v->n; i++)
        put_loss(order[i], out);
    put_json_end_list(out);
    free(order);
}
