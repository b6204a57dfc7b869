/* --dry-run: the plan as a table, or as JSON. */
#include "core/plan_print.h"
#include "core/rules.h"
#include "core/units.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_SUMS = 64 };

static void shape_text(const model_tensor *t, char *text, size_t n)
{
    size_t at = 0;
    text[0] = 0;
    for (uint32_t d = 0; d < t->n_dims && at < n; d++) {
        int more = snprintf(text + at, n - at, "%s%" PRIu64, d ? " x " : "", t->dims[d]);
        at += more > 0 ? (size_t)more : 0;
    }
}

static double bits(const plan_item *item)
{
    return ratio((double)item->bytes * 8, plan_weights(item));
}

/* Of columns whose texts are of any length. */
typedef struct widths {
    int name, from, to;
} widths;

static void widen(int *width, const char *text)
{
    size_t n = strlen(text);
    *width = n > (size_t)*width ? (int)(n > 48 ? 48 : n) : *width;
}

static widths find_widths(const plan *p)
{
    widths w = {6, 8, 8};
    for (size_t i = 0; i < p->n_items; i++) {
        widen(&w.name, p->items[i].tensor->name);
        widen(&w.from, p->items[i].tensor->encoding);
        widen(&w.to, p->items[i].encoding);
    }
    return w;
}

static void print_item(const plan_item *item, const widths *w)
{
    char shape[100];
    shape_text(item->tensor, shape, sizeof shape);
    printf("%-*s  %-20s  %-*s  %-*s  %7.4f  %13" PRIu64 "%s%s\n", w->name, item->tensor->name, shape, w->from,
           item->tensor->encoding, w->to, item->carried ? "as it is" : item->encoding, bits(item), item->bytes,
           item->note ? "  " : "", item->note ? item->note : "");
}

/* What all tensors of one encoding add up to. */
typedef struct encoding_sum {
    const char *encoding;
    size_t n_tensors;
    uint64_t bytes;
    double weights;
} encoding_sum;

/* Sums by encoding, in order of appearance; encodings past MAX_SUMS go to the last one. */
static size_t add_up(const plan *p, encoding_sum sums[MAX_SUMS])
{
    size_t n = 0;
    for (size_t i = 0; i < p->n_items; i++) {
        const plan_item *item = &p->items[i];
        size_t k = 0;
        while (k < n && strcmp(sums[k].encoding, item->encoding) != 0)
            k++;
        if (k == MAX_SUMS)
            k--;
        else if (k == n)
            sums[n++] = (encoding_sum){.encoding = item->encoding};
        sums[k].n_tensors++;
        sums[k].bytes += item->bytes;
        sums[k].weights += plan_weights(item);
    }
    return n;
}

/* Heaviest first. */
static int compare_sums(const void *a, const void *b)
{
    const encoding_sum *x = a, *y = b;
    int order = (x->bytes < y->bytes) - (x->bytes > y->bytes);
    return order ? order : strcmp(x->encoding, y->encoding);
}

static void print_sums(const plan *p)
{
    encoding_sum sums[MAX_SUMS];
    char size[BYTES_TEXT];
    size_t n = add_up(p, sums);
    qsort(sums, n, sizeof *sums, compare_sums);
    int width = 10;
    for (size_t i = 0; i < n; i++)
        widen(&width, sums[i].encoding);
    printf("\n%-*s  %7s  %7s  %12s  %7s\n", width, "encoding", "tensors", "bits", "size", "share");
    for (size_t i = 0; i < n; i++)
        printf("%-*s  %7zu  %7.4f  %12s  %5.1f %%\n", width, sums[i].encoding, sums[i].n_tensors,
               ratio((double)sums[i].bytes * 8, sums[i].weights), bytes_text(sums[i].bytes, size),
               100 * ratio((double)sums[i].bytes, (double)p->bytes));
}

/* "equalize, gptq": what is done, one after the other. */
void plan_print_methods(const plan *p, const char *before, FILE *file)
{
    for (size_t i = 0; i < p->recipe->quantize.n_methods; i++)
        fprintf(file, "%s%s", i ? ", " : before, p->recipe->quantize.methods[i].id);
    if (p->recipe->quantize.n_methods)
        fputc('\n', file);
}

static void print_calibration(const plan *p)
{
    const char *const sequential[] = {"", ", from blocks as they are written", ", from linears as they are written"};
    char size[BYTES_TEXT];
    if (p->calibration_tokens)
        printf("calibration: %llu tokens%s, at least %s of memory\n", (unsigned long long)p->calibration_tokens,
               sequential[p->recipe->calibration.sequential], bytes_text(p->calibration_bytes, size));
}

/* Reasons begin in one column, and no line ends in blanks. */
void plan_print_loaders(const plan *p, const char *before, FILE *file)
{
    int width = 9;
    if (p->n_loaders)
        fprintf(file, "\n%sloaded by\n", before);
    for (size_t i = 0; i < p->n_loaders; i++)
        widen(&width, p->loaders[i].name);
    for (size_t i = 0; i < p->n_loaders; i++) {
        const plan_loader *l = &p->loaders[i];
        const char *answer = l->takes ? "yes" : "no";
        if (l->why)
            fprintf(file, "%s  %-*s  %-3s  %s\n", before, width, l->name, answer, l->why);
        else
            fprintf(file, "%s  %-*s  %s\n", before, width, l->name, answer);
    }
}

static void print_table(const plan *p)
{
    const widths w = find_widths(p);
    char before[BYTES_TEXT], after[BYTES_TEXT];
    printf("%-*s  %-20s  %-*s  %-*s  %7s  %13s\n", w.name, "tensor", "shape", w.from, "from", w.to, "to", "bits",
           "bytes");
    for (size_t i = 0; i < p->n_items; i++)
        print_item(&p->items[i], &w);
    print_sums(p);
    printf("\n%zu tensors: %s at %.3f bits a weight -> %s at %.3f (%.1f %%)\n", p->n_items,
           bytes_text(p->stored, before), p->bits_stored, bytes_text(p->bytes, after), p->bits,
           100 * ratio((double)p->bytes, (double)p->stored));
    plan_print_methods(p, "methods: ", stdout);
    print_calibration(p);
    plan_print_loaders(p, "", stdout);
    printf("%soutput: %s (%s); nothing was written\n", p->n_loaders ? "\n" : "", p->recipe->output.path, p->format);
}

static void put_item(json_out *j, const plan_item *item)
{
    char where[300];
    put_json_object(j, NULL);
    put_json_text(j, "name", item->tensor->name);
    put_json_text(j, "role", item->tensor->role);
    put_json_list(j, "shape");
    for (uint32_t d = 0; d < item->tensor->n_dims; d++)
        put_json_count(j, NULL, item->tensor->dims[d]);
    put_json_end_list(j);
    put_json_text(j, "from", item->tensor->encoding);
    put_json_text(j, "to", item->encoding);
    put_json_bool(j, "carried", item->carried);
    put_json_number(j, "bits_per_weight", bits(item));
    put_json_count(j, "bytes_before", item->stored);
    put_json_count(j, "bytes_after", item->bytes);
    put_json_text(j, "rule", *place_text(item->why, where, sizeof where) ? where : NULL);
    put_json_text(j, "note", item->note);
    put_json_end_object(j);
}

void plan_json_how(const plan *p, json_out *j)
{
    put_json_list(j, "methods");
    for (size_t i = 0; i < p->recipe->quantize.n_methods; i++)
        put_json_text(j, NULL, p->recipe->quantize.methods[i].id);
    put_json_end_list(j);
    put_json_list(j, "loaders");
    for (size_t i = 0; i < p->n_loaders; i++) {
        put_json_object(j, NULL);
        put_json_text(j, "name", p->loaders[i].name);
        put_json_bool(j, "takes", p->loaders[i].takes);
        put_json_text(j, "why", p->loaders[i].why);
        put_json_end_object(j);
    }
    put_json_end_list(j);
}

static void print_json(const plan *p)
{
    json_out j = {.file = stdout};
    put_json_object(&j, NULL);
    put_json_text(&j, "model", p->model->path);
    put_json_text(&j, "output", p->recipe->output.path);
    put_json_text(&j, "format", p->format);
    plan_json_how(p, &j);
    put_json_list(&j, "tensors");
    for (size_t i = 0; i < p->n_items; i++)
        put_item(&j, &p->items[i]);
    put_json_end_list(&j);
    put_json_count(&j, "bytes_before", p->stored);
    put_json_count(&j, "bytes_after", p->bytes);
    put_json_number(&j, "bits_per_weight_before", p->bits_stored);
    put_json_number(&j, "bits_per_weight_after", p->bits);
    if (p->calibration_tokens) {
        put_json_count(&j, "calibration_tokens", p->calibration_tokens);
        put_json_count(&j, "calibration_bytes", p->calibration_bytes);
    }
    put_json_end_object(&j);
}

void plan_print(const plan *p, int json)
{
    if (json)
        print_json(p);
    else
        print_table(p);
}
