#include "core/export.h"
#include "core/array.h"
#include "core/contents.h"
#include "core/names.h"
#include <stdlib.h>

typedef struct exporter {
    qc_job *job;
    const plan *plan;
    const qc_architecture_desc *family; /* whose names the output gets; NULL: canonical ones, or the source's own */
    int own_names; /* the source had them */
    exports *out;
} exporter;

static uint64_t row_bytes(const plan_item *item)
{
    return item->to.desc ? item->to.row_bytes : item->stored / item->tensor->n_rows;
}

/* One tensor of the output: `n_cuts`-th part of the item's rows. */
static qc_status add_tensor(const exporter *x, const plan_item *item, const char *name, uint64_t n_cuts)
{
    exports *out = x->out;
    const model_tensor *t = item->tensor;
    if (!array_reserve(&out->tensors, &out->capacity, out->n_tensors, sizeof *out->tensors))
        return qc_fail(x->job, QC_E_NOMEM, "out of memory for the output's tensors");
    qc_tensor *to = &out->tensors[out->n_tensors];
    *to = (qc_tensor){.size = sizeof *to, .n_dims = t->n_dims, .encoding = item->encoding};
    memcpy(to->dims, t->dims, sizeof to->dims);
    if (n_cuts > 1) {
        to->n_dims = 2;
        to->dims[2] = to->dims[3] = 1;
    }
    to->desc = item->to.desc;
    to->row_bytes = row_bytes(item);
    if (!qc_mul_size(to->row_bytes, tensor_rows(to), &to->bytes))
        return qc_fail(x->job, QC_E_LIMIT, "%s is too large", t->name);
    to->name = strdup(name);
    if (!to->name)
        return qc_fail(x->job, QC_E_NOMEM, "out of memory for the output's tensors");
    out->n_tensors++;
    return QC_OK;
}

/* From the family to the family: each run of rows is a tensor of the source, and its order stays. */
static qc_status give_back(const exporter *x, const plan_item *item, export_item *e)
{
    const model *m = x->plan->model;
    qc_status status = QC_OK;
    e->n = item->tensor->n_runs; /* 0 where the architecture generated it: the family does so itself */
    e->view.row_map = QC_ROWS_PLAIN;
    e->view.flags &= ~(uint32_t)QC_NAME_ADD_ONE;
    for (size_t i = 0; i < e->n && status == QC_OK; i++)
        status = add_tensor(x, item, m->sources[item->tensor->runs[i].source]->name, e->n);
    return status;
}

static const qc_name_rule *find_rule(const exporter *x, const char *canonical, name_numbers *numbers)
{
    for (const qc_name_rule *rule = x->family ? x->family->names : NULL; rule && rule->source; rule++)
        if (rule->canonical && name_match(rule->canonical, canonical, numbers))
            return rule;
    return NULL;
}

static qc_status invert_heads(const exporter *x, model_tensor *t, uint32_t rows, uint64_t block)
{
    t->row_map = rows | ROWS_INVERSE;
    return model_set_heads(x->job, t, model_count(x->plan->model, head_count_key(rows), (size_t)block, 0));
}

/* From canonical to the family, by its table read backwards. What the table lacks keeps its name. */
static qc_status rename_back(const exporter *x, const plan_item *item, export_item *e)
{
    const model_tensor *t = item->tensor;
    name_numbers numbers = {0, 0};
    char name[NAME_BYTES];
    const qc_name_rule *rule = find_rule(x, t->name, &numbers);
    e->n = 1;
    if (!rule)
        return add_tensor(x, item, t->name, 1);
    if (rule->flags & QC_NAME_TRANSPOSE)
        return qc_fail(x->job, QC_E_UNSUPPORTED, "%s cannot be written transposed, as %s", t->name, rule->source);
    e->view.flags |= (rule->flags & QC_NAME_ADD_ONE) ? QC_NAME_ADD_ONE | NAME_MINUS : 0;
    qc_status status = rule->rows ? invert_heads(x, &e->view, rule->rows, numbers.block) : QC_OK;
    e->n = name_has_expert(rule->source) ? (size_t)(t->dims[2] * t->dims[3]) : 1;
    for (; numbers.expert < e->n && status == QC_OK; numbers.expert++) {
        if (!name_fill(rule->source, numbers, name))
            return qc_fail(x->job, QC_E_INTERNAL, "name '%.100s' is too long", rule->source);
        status = add_tensor(x, item, name, e->n);
    }
    return status;
}

static qc_status export_one(const exporter *x, const plan_item *item, export_item *e, int canonical)
{
    e->view = *item->tensor;
    e->first = x->out->n_tensors;
    e->n = 1;
    if (canonical)
        return add_tensor(x, item, item->tensor->name, 1);
    if (item->tensor->flags & QC_NAME_TRANSPOSE)
        return qc_fail(x->job, QC_E_UNSUPPORTED, "%s cannot be written transposed, as %s", item->tensor->name,
                       item->tensor->source_name);
    return x->own_names ? give_back(x, item, e) : rename_back(x, item, e);
}

/* One order a tensor: what is stacked, or cut apart, has none. */
static qc_status add_order(const exporter *x, const plan_item *item, export_item *e)
{
    size_t cols = (size_t)item->tensor->dims[0];
    if (!x->plan->ordered || e->n != 1 || item->carried || !item->to.desc || item->to.block_cols == 1 ||
        item->tensor->n_rows != item->tensor->dims[1])
        return QC_OK;
    e->order = malloc(cols * sizeof *e->order);
    if (!e->order)
        return qc_fail(x->job, QC_E_NOMEM, "out of memory for a column order");
    for (size_t i = 0; i < cols; i++)
        e->order[i] = (uint32_t)i;
    x->out->tensors[e->first].order = e->order;
    return QC_OK;
}

qc_status exports_make(qc_job *job, registry *r, const plan *p, int canonical, exports *out)
{
    const model *m = p->model;
    exporter x = {.job = job, .plan = p, .out = out};
    const void *desc = NULL;
    qc_status status = QC_OK;
    memset(out, 0, sizeof *out);
    x.own_names = !(m->format->base.flags & QC_FORMAT_CANONICAL);
    if (!canonical && !x.own_names && m->architecture_id)
        status = registry_open(r, job, "architecture", m->architecture_id, &desc);
    x.family = desc;
    out->items = calloc(p->n_items + 1, sizeof *out->items);
    out->n_items = p->n_items;
    if (!out->items)
        return qc_fail(job, QC_E_NOMEM, "out of memory for the output's tensors");
    for (size_t i = 0; i < p->n_items && status == QC_OK; i++) {
        status = export_one(&x, &p->items[i], &out->items[i], canonical);
        if (status == QC_OK)
            status = add_order(&x, &p->items[i], &out->items[i]);
    }
    if (status != QC_OK)
        exports_free(out);
    return status;
}

void exports_free(exports *e)
{
    for (size_t i = 0; i < e->n_tensors; i++)
        free((char *)e->tensors[i].name);
    for (size_t i = 0; e->items && i < e->n_items; i++)
        free(e->items[i].order);
    free(e->tensors);
    free(e->items);
    memset(e, 0, sizeof *e);
}
