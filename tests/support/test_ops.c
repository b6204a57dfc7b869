#include "test_ops.h"
#include "test_plugin.h"

static qc_ops_row row;
static qc_ops_math math;
static qc_ops_matrix matrix;

static const test_table tables[] = {{QC_OPS_ROW, &row}, {QC_OPS_MATH, &math}, {QC_OPS_MATRIX, &matrix}, {NULL, NULL}};

const test_table *test_ops(const char *name)
{
    const qc_plugin *plugin = test_plugin_open(name);
    const qc_backend_desc *backend = (const qc_backend_desc *)(const void *)plugin->descs[0];
    row.size = sizeof row;
    math.size = sizeof math;
    matrix.size = sizeof matrix;
    backend->overlay("", QC_OPS_ROW, &row, sizeof row);
    backend->overlay("", QC_OPS_MATH, &math, sizeof math);
    backend->overlay("", QC_OPS_MATRIX, &matrix, sizeof matrix);
    return tables;
}

const qc_ops_math *test_ops_math(void)
{
    return &math;
}
