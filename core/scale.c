/* Factors of an item applied to rows as the output has them. */
#include "core/chunk.h"

/* Canonical values are those of the view and one more: a family whose norms are stored less one. */
static float view_shift(const work *w)
{
    int canonical = (w->item->tensor->flags & QC_NAME_ADD_ONE) && !(w->view->flags & QC_NAME_ADD_ONE);
    return canonical || (w->view->flags & NAME_MINUS) ? 1.0f : 0.0f;
}

/* Halves to pairs, and the way back (load.c has the other side). */
static uint64_t paired(const model_tensor *t, uint64_t row, int inverse)
{
    uint64_t half = t->head_rows / 2, begin = row / t->head_rows * t->head_rows, k = row - begin;
    return begin + (inverse ? k % half * 2 + k / half : k % 2 * half + k / 2);
}

uint64_t canonical_row(const work *w, uint64_t row)
{
    const model_tensor *t = w->item->tensor, *view = w->view;
    if (view->row_map & ROWS_INVERSE) /* canonical rows in the family's order */
        return paired(view, row, 1);
    if (t->row_map && !view->row_map) /* rows of the family as they are */
        return paired(t, row, !(t->row_map & ROWS_INVERSE));
    return row;
}

static void scale_row(const work *w, float divide, float *x)
{
    const factors *f = &w->factors;
    int vector = w->item->tensor->n_rows == 1 && f->divide != NULL;
    float shift = view_shift(w);
    for (size_t i = 0; i < w->from.cols; i++) {
        float value = x[i] + shift;
        value = f->multiply ? value * f->multiply[i] : value;
        value = value / (vector ? f->divide[i] : divide);
        x[i] = value - shift;
    }
}

/* Factors are those of single matrices: `row` counts from the tensor's first. */
void scale_view_rows(const work *w, uint64_t row, size_t n, float *x)
{
    const float *divide = w->item->tensor->n_rows > 1 ? w->factors.divide : NULL;
    for (size_t i = 0; i < n && is_scaled(w); i++)
        scale_row(w, divide ? divide[canonical_row(w, row + i)] : 1.0f, x + i * w->from.cols);
}

void canonical_values(const work *w, size_t n, float *x)
{
    float shift = view_shift(w);
    for (size_t i = 0; shift != 0.0f && i < n * w->from.cols; i++)
        x[i] += shift;
}
