/* --dry-run: the plan as a table, or as JSON. */
#include "core/jsonout.h"
#include "core/plan.h"
#include "core/rules.h"
#include <inttypes.h>
#include <stdio.h>

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
    double weights = (double)item->tensor->dims[0] * (double)item->tensor->n_rows;
    return weights > 0 ? (double)item->bytes * 8 / weights : 0;
}

static int widest_name(const plan *p)
{
    size_t widest = 6;
    for (size_t i = 0; i < p->n_items; i++) {
        size_t n = strlen(p->items[i].tensor->name);
        widest = n > widest ? n : widest;
    }
    return (int)(widest > 48 ? 48 : widest);
}

static void print_item(const plan_item *item, int width)
{
    char shape[100];
    shape_text(item->tensor, shape, sizeof shape);
    printf("%-*s  %-20s  %-8s  %-8s  %7.4f  %13" PRIu64 "%s%s\n", width, item->tensor->name, shape,
           item->tensor->encoding, item->carried ? "as it is" : item->encoding, bits(item), item->bytes,
           item->note ? "  " : "", item->note ? item->note : "");
}

static void print_table(const plan *p)
{
    int width = widest_name(p);
    printf("%-*s  %-20s  %-8s  %-8s  %7s  %13s\n", width, "tensor", "shape", "from", "to", "bits", "bytes");
    for (size_t i = 0; i < p->n_items; i++)
        print_item(&p->items[i], width);
    printf("\n%zu tensors, %.2f MB at %.2f bits a weight -> %.2f MB at %.2f bits a weight (%.1f %%)\n", p->n_items,
           (double)p->stored * 1e-6, p->bits_stored, (double)p->bytes * 1e-6, p->bits,
           p->stored ? 100.0 * (double)p->bytes / (double)p->stored : 0.0);
    printf("output: %s (%s); nothing was written\n", p->recipe->output.path, p->format);
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
    put_json_number(j, "bits", bits(item));
    put_json_count(j, "bytes_before", item->stored);
    put_json_count(j, "bytes", item->bytes);
    put_json_text(j, "rule", *place_text(item->why, where, sizeof where) ? where : NULL);
    put_json_text(j, "note", item->note);
    put_json_end_object(j);
}

static void print_json(const plan *p)
{
    json_out j = {.file = stdout};
    put_json_object(&j, NULL);
    put_json_text(&j, "model", p->model->path);
    put_json_text(&j, "output", p->recipe->output.path);
    put_json_text(&j, "format", p->format);
    put_json_list(&j, "tensors");
    for (size_t i = 0; i < p->n_items; i++)
        put_item(&j, &p->items[i]);
    put_json_end_list(&j);
    put_json_count(&j, "bytes_before", p->stored);
    put_json_count(&j, "bytes", p->bytes);
    put_json_number(&j, "bits_before", p->bits_stored);
    put_json_number(&j, "bits", p->bits);
    put_json_end_object(&j);
}

void plan_print(const plan *p, int json)
{
    if (json)
        print_json(p);
    else
        print_table(p);
}
