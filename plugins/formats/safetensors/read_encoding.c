/* Which encoding keeps a packed linear: its codes as they are, or float32. What its scales and zeros are decides. */
#include "qcore/number.h"
#include "read_packed.h"

static int is_codes_group(const pk_linear *l)
{
    return l->n_groups == 1 || ((l->group == 32 || l->group == 64 || l->group == 128) && l->cols % l->group == 0);
}

enum { LOOK_BYTES = 1 << 20 }; /* of memory, to look at all scales or zeros of a linear */

static size_t rows_at_once(const pk_linear *l, uint64_t row)
{
    uint64_t n = LOOK_BYTES / sizeof(float) / l->n_groups, left = l->rows - row;
    n = n < 64 ? 64 : n - n % 64;
    return (size_t)(n < left ? n : left);
}

/* Can float16 hold them all? */
static qc_status look_at_scales(pk_reader *r, int *exact)
{
    const pk_linear *l = r->linear;
    qc_status status = QC_OK;
    *exact = 1;
    if (!strcmp(l->scales->encoding, "f16"))
        return QC_OK;
    for (uint64_t row = 0, n; row < l->rows && *exact && status == QC_OK; row += n) {
        n = rows_at_once(l, row);
        status = pk_read_scales(r, row, (size_t)n);
        const float *scale = r->scales.data;
        for (size_t i = 0; status == QC_OK && i < n * l->n_groups; i++)
            *exact &= qc_is_finite(scale[i]) && qc_f32_from_f16(qc_f16_from_f32(scale[i])) == scale[i];
    }
    return status;
}

typedef struct zeros_seen {
    int all_middle; /* each is 2^(b - 1), so codes are signed ones */
    int any_first; /* one is 0 */
} zeros_seen;

static qc_status look_at_zeros(pk_reader *r, zeros_seen *seen)
{
    const pk_linear *l = r->linear;
    const int middle = 1 << (l->bits - 1), highest = (1 << l->bits) - 1;
    qc_status status = QC_OK;
    *seen = (zeros_seen){1, 0};
    for (uint64_t row = 0, n; l->zeros && row < l->rows && status == QC_OK; row += n) {
        n = rows_at_once(l, row);
        status = pk_read_zeros(r, row, (size_t)n);
        const int16_t *zero = r->zeros.data;
        for (size_t i = 0; status == QC_OK && i < n * l->n_groups; i++) {
            if (zero[i] < 0 || zero[i] > highest)
                return pk_bad(r, l->zeros, "a zero point is beyond the range of the codes");
            seen->all_middle &= zero[i] == middle;
            seen->any_first |= zero[i] == 0;
        }
    }
    return status;
}

qc_status pk_choose_encoding(pk_reader *r, pk_linear *l, char encoding[32], int *ambiguous)
{
    int in_order = 1, exact = 1;
    zeros_seen seen = {1, 0};
    r->linear = l;
    qc_status status = l->groups ? pk_read_groups(r, &in_order) : QC_OK;
    if (status == QC_OK)
        status = look_at_zeros(r, &seen);
    l->groups = in_order ? NULL : l->groups;
    *ambiguous = seen.any_first && l->zero_rule == PK_ZERO_LESS_ONE;
    int keeps = l->layout != PK_FP8 && l->bits > 1 && in_order && is_codes_group(l);
    if (status == QC_OK && keeps)
        status = look_at_scales(r, &exact);
    l->signed_codes = seen.all_middle;
    const char *zeros = l->signed_codes ? "" : "_asym";
    if (!keeps || !exact)
        snprintf(encoding, 32, QC_ENCODING_F32);
    else if (l->group != l->cols)
        snprintf(encoding, 32, "int%u_g%u%s", l->bits, (unsigned)l->group, zeros);
    else
        snprintf(encoding, 32, "int%u_channel%s", l->bits, zeros);
    return status;
}
