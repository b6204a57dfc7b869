/* scalar: the portable kernels that define every op. Faster backends overwrite entries with the same bits. */
#include "qcore/encoding.h"
#include "qcore/number.h"
#include "qcore/ops.h"

/* Lane l += lane l + 8, then + 4, + 2, + 1. */
static double fold(double *lane)
{
    for (size_t half = QC_LANES / 2; half > 0; half /= 2)
        for (size_t l = 0; l < half; l++)
            lane[l] += lane[l + half];
    return lane[0];
}

static int row_all_finite(const float *x, size_t n)
{
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++)
        bad |= (uint32_t)!qc_is_finite(x[i]);
    return bad == 0;
}

static double row_sum_squares(const float *x, const float *importance, size_t n)
{
    double lane[QC_LANES] = {0};
    for (size_t i = 0; i < n; i++) {
        double square = (double)x[i] * (double)x[i];
        lane[i % QC_LANES] += importance ? (double)importance[i] * square : square;
    }
    return fold(lane);
}

static double row_squared_error(const float *x, const float *y, const float *importance, size_t n)
{
    double lane[QC_LANES] = {0};
    for (size_t i = 0; i < n; i++) {
        double error = (double)x[i] - (double)y[i];
        double square = error * error;
        lane[i % QC_LANES] += importance ? (double)importance[i] * square : square;
    }
    return fold(lane);
}

static const qc_ops_row row_ops = {
    .size = sizeof(qc_ops_row),
    .all_finite = row_all_finite,
    .sum_squares = row_sum_squares,
    .squared_error = row_squared_error,
};

/* Every entry that both sides know; the table's own size member stays the host's. */
static void fill(void *table, size_t size, const void *ops, size_t ops_size)
{
    const size_t entries = sizeof(void *) > sizeof(uint32_t) ? sizeof(void *) : sizeof(uint32_t);
    size_t common = size < ops_size ? size : ops_size;
    if (common > entries)
        memcpy((char *)table + entries, (const char *)ops + entries, common - entries);
}

static void scalar_overlay(const char *cpu, const char *table_id, void *table, size_t size)
{
    (void)cpu;
    if (!strcmp(table_id, QC_OPS_ROW))
        fill(table, size, &row_ops, sizeof row_ops);
}

static const qc_backend_desc scalar = {
    .base = {.size = sizeof(qc_backend_desc), .kind = QC_KIND_BACKEND, .id = "scalar"},
    .rank = 0,
    .overlay = scalar_overlay,
};

QC_PLUGIN(&scalar.base);
