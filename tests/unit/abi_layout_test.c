/* The layout of every public struct, against the committed abi_layout.txt. What differs breaks plugins that exist: only
 * members appended at the end (and a new ABI minor) are allowed. QC_ABI_LAYOUT=FILE writes the new text. */
#include "qcore/architecture.h"
#include "qcore/format.h"
#include "qcore/method.h"
#include "qcore/ops.h"
#include "qcore/tokenizer.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void print_layout(FILE *out)
{
#define T(type) fprintf(out, "%s %zu\n", #type, sizeof(type));
#define M(type, member) fprintf(out, "    %s @%zu %zu\n", #member, offsetof(type, member), sizeof(((type *)0)->member));
    fprintf(out, "ABI %d.%d\n", QC_ABI_MAJOR, QC_ABI_MINOR);
    T(qc_stamp)
    M(qc_stamp, magic)
    M(qc_stamp, abi_major)
    M(qc_stamp, abi_minor)
    M(qc_stamp, ptr_bytes)
    M(qc_stamp, long_bytes)
    M(qc_stamp, big_endian)
    M(qc_stamp, reserved)
    M(qc_stamp, sdk_version)
    T(qc_desc)
    M(qc_desc, size)
    M(qc_desc, flags)
    M(qc_desc, kind)
    M(qc_desc, id)
    M(qc_desc, reserved)
    T(qc_plugin)
    M(qc_plugin, stamp)
    M(qc_plugin, size)
    M(qc_plugin, n_descs)
    M(qc_plugin, descs)
    T(qc_host)
    M(qc_host, size)
    M(qc_host, abi_major)
    M(qc_host, abi_minor)
    M(qc_host, log)
    M(qc_host, alloc)
    M(qc_host, free)
    M(qc_host, find)
    M(qc_host, number)
    M(qc_host, text)
    T(qc_job)
    M(qc_job, size)
    M(qc_job, worker)
    M(qc_job, host)
    M(qc_job, seed)
    M(qc_job, scratch)
    M(qc_job, parallel_for)
    M(qc_job, fail)
    M(qc_job, progress)
    T(qc_tensor)
    M(qc_tensor, size)
    M(qc_tensor, n_dims)
    M(qc_tensor, file)
    M(qc_tensor, name)
    M(qc_tensor, encoding)
    M(qc_tensor, dims)
    M(qc_tensor, at)
    M(qc_tensor, bytes)
    M(qc_tensor, row_bytes)
    M(qc_tensor, order)
    T(qc_text)
    M(qc_text, data)
    M(qc_text, length)
    T(qc_meta)
    M(qc_meta, size)
    M(qc_meta, key)
    M(qc_meta, type)
    M(qc_meta, is_array)
    M(qc_meta, count)
    M(qc_meta, data)
    T(qc_source)
    M(qc_source, size)
    M(qc_source, open)
    M(qc_source, name)
    M(qc_source, length)
    M(qc_source, read_at)
    T(qc_scan)
    M(qc_scan, size)
    M(qc_scan, tensor)
    M(qc_scan, meta)
    T(qc_coder)
    M(qc_coder, size)
    M(qc_coder, block_cols)
    M(qc_coder, cols)
    M(qc_coder, row_bytes)
    M(qc_coder, desc)
    M(qc_coder, ops)
    M(qc_coder, order)
    M(qc_coder, shared)
    T(qc_grid)
    M(qc_grid, size)
    M(qc_grid, step)
    M(qc_grid, offset)
    M(qc_grid, state)
    T(qc_ops_encoding)
    M(qc_ops_encoding, size)
    M(qc_ops_encoding, decode)
    M(qc_ops_encoding, encode)
    M(qc_ops_encoding, fit)
    M(qc_ops_encoding, snap)
    M(qc_ops_encoding, pack)
    M(qc_ops_encoding, unpack)
    M(qc_ops_encoding, neighbour)
    T(qc_variant)
    M(qc_variant, cpu)
    M(qc_variant, ops)
    T(qc_encoding_desc)
    M(qc_encoding_desc, base)
    M(qc_encoding_desc, block_cols)
    M(qc_encoding_desc, block_bytes)
    M(qc_encoding_desc, sub_cols)
    M(qc_encoding_desc, snap_cols)
    M(qc_encoding_desc, state_bytes)
    M(qc_encoding_desc, lowest)
    M(qc_encoding_desc, highest)
    M(qc_encoding_desc, levels)
    M(qc_encoding_desc, params)
    M(qc_encoding_desc, reference)
    M(qc_encoding_desc, variants)
    M(qc_encoding_desc, validate)
    T(qc_input)
    M(qc_input, size)
    M(qc_input, cols)
    M(qc_input, n_tokens)
    M(qc_input, mean_square)
    M(qc_input, absmax)
    M(qc_input, gram)
    M(qc_input, samples)
    M(qc_input, n_samples)
    T(qc_linear)
    M(qc_linear, size)
    M(qc_linear, name)
    M(qc_linear, role)
    M(qc_linear, layer)
    M(qc_linear, expert)
    M(qc_linear, rows)
    M(qc_linear, cols)
    M(qc_linear, input)
    M(qc_linear, coder)
    T(qc_end)
    M(qc_end, size)
    M(qc_end, linear)
    M(qc_end, map)
    M(qc_end, rows)
    T(qc_axis)
    M(qc_axis, size)
    M(qc_axis, n_channels)
    M(qc_axis, input)
    M(qc_axis, n_writers)
    M(qc_axis, n_readers)
    M(qc_axis, writers)
    M(qc_axis, readers)
    T(qc_method_desc)
    M(qc_method_desc, base)
    M(qc_method_desc, statistics)
    M(qc_method_desc, create)
    M(qc_method_desc, destroy)
    M(qc_method_desc, transform)
    M(qc_method_desc, prepare)
    M(qc_method_desc, release)
    M(qc_method_desc, round)
    M(qc_method_desc, memory)
    T(qc_model)
    M(qc_model, size)
    M(qc_model, n_tensors)
    M(qc_model, n_metas)
    M(qc_model, tensors)
    M(qc_model, metas)
    T(qc_layout)
    M(qc_layout, size)
    M(qc_layout, file)
    M(qc_layout, place)
    M(qc_layout, bytes)
    T(qc_sink)
    M(qc_sink, size)
    M(qc_sink, write_at)
    T(qc_format_desc)
    M(qc_format_desc, base)
    M(qc_format_desc, row_multiple)
    M(qc_format_desc, probe)
    M(qc_format_desc, scan)
    M(qc_format_desc, refuses)
    M(qc_format_desc, layout)
    M(qc_format_desc, load)
    M(qc_format_desc, store)
    M(qc_format_desc, release)
    T(qc_name_rule)
    M(qc_name_rule, source)
    M(qc_name_rule, canonical)
    M(qc_name_rule, flags)
    M(qc_name_rule, rows)
    T(qc_import)
    M(qc_import, size)
    M(qc_import, scan)
    M(qc_import, vector)
    M(qc_import, shape)
    T(qc_architecture_desc)
    M(qc_architecture_desc, base)
    M(qc_architecture_desc, names)
    M(qc_architecture_desc, import)
    T(qc_tokenizer_desc)
    M(qc_tokenizer_desc, base)
    M(qc_tokenizer_desc, import)
    T(qc_ops_row)
    M(qc_ops_row, size)
    M(qc_ops_row, all_finite)
    M(qc_ops_row, sum_squares)
    M(qc_ops_row, squared_error)
    T(qc_backend_desc)
    M(qc_backend_desc, base)
    M(qc_backend_desc, rank)
    M(qc_backend_desc, overlay)
#undef T
#undef M
}

static char *read_all(FILE *file)
{
    enum { MOST = 1 << 16 };
    char *text = calloc(1, MOST);
    assert_non_null(text);
    assert_true(fread(text, 1, MOST - 1, file) < MOST - 1);
    return text;
}

static void layout_is_as_committed(void **state)
{
    const char *write_to = getenv("QC_ABI_LAYOUT");
    FILE *now = write_to ? fopen(write_to, "w+") : tmpfile();
    FILE *then = fopen(QC_TEST_DATA "/unit/abi_layout.txt", "r");
    (void)state;
    assert_non_null(now);
    print_layout(now);
    rewind(now);
    assert_non_null(then);
    char *is = read_all(now), *was = read_all(then);
    assert_string_equal(is, was);
    free(is);
    free(was);
    fclose(now);
    fclose(then);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(layout_is_as_committed)};
    if (sizeof(void *) != 8 || sizeof(long) != 8)
        return 0; /* the text is for 64-bit machines */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
