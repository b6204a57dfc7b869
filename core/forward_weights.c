#include "core/array.h"
#include "core/forward_impl.h"
#include "core/pages.h"
#include "core/rows.h"

enum { PIECE_WEIGHTS = 1 << 17 }; /* of a weight that one worker decodes at once */

const model_tensor *forward_tensor(const forward *f, const char *name)
{
    return strcmp(name, "output.weight") == 0 ? f->output : model_find(f->model, name);
}

/* ---- how rows are stored ---- */

/* What the file says of a row's length is what its encoding makes of it: rows are read into room of that size. */
static qc_status check_rows(const forward *f, qc_job *job, const model_tensor *t, const qc_coder *coder)
{
    int as_stored = !f->model->format->load && !(t->flags & QC_NAME_TRANSPOSE);
    for (size_t i = 0; as_stored && i < t->n_runs; i++)
        if (f->model->sources[t->runs[i].source]->row_bytes != coder->row_bytes)
            return qc_fail(job, QC_E_CORRUPT, "%s: its rows are not as long as %s makes them", t->name, t->encoding);
    return QC_OK;
}

static qc_status make_coder(const forward *f, qc_job *job, const model_tensor *t, qc_coder *coder)
{
    if (!registry_entry(f->registry, "encoding", t->encoding))
        return qc_fail(job, QC_E_UNSUPPORTED, "%s: %s: no plugin decodes %s, so the model cannot be run",
                       f->model->path, t->name, t->encoding);
    qc_status status = registry_coder(f->registry, job, t->encoding, t->dims[0], coder);
    if (status != QC_OK)
        job_add_context(job, "%s", t->name);
    return status == QC_OK ? check_rows(f, job, t, coder) : status;
}

qc_status forward_coder(forward *f, qc_job *job, const model_tensor *t, const qc_coder **coder)
{
    qc_coder *kept = &f->coders[t - f->model->tensors], made = {0};
    *coder = kept;
    if (kept->size)
        return QC_OK;
    qc_status status = make_coder(f, job, t, &made);
    if (status == QC_OK)
        *kept = made;
    return status;
}

/* ---- decoding ---- */

typedef struct decoding {
    const forward *forward;
    const model_tensor *tensor;
    const qc_coder *coder;
    uint64_t row; /* the first */
    float *x;
} decoding;

static qc_status decode_piece(void *arg, qc_job *job, size_t begin, size_t end)
{
    const decoding *d = arg;
    return rows_load(d->forward->model, job, d->forward->rows, d->tensor, d->coder, d->row + begin, end - begin,
                     d->x + begin * d->coder->cols);
}

qc_status forward_decode(forward *f, qc_job *job, const model_tensor *t, uint64_t row, size_t n, float *x)
{
    decoding d = {.forward = f, .tensor = t, .row = row, .x = x};
    qc_status status = forward_coder(f, job, t, &d.coder);
    if (status != QC_OK)
        return status;
    size_t tiles = 1 + PIECE_WEIGHTS / QC_LANES / (d.coder->cols + 1);
    status = job->parallel_for(job, n, tiles * QC_LANES, decode_piece, &d);
    if (status != QC_OK && status != QC_E_CANCELLED)
        job_add_context(job, "%s", t->name);
    return status;
}

/* ---- what is in memory ---- */

static int matrix_bytes(const forward *f, const model_tensor *t, int stored, uint64_t *bytes)
{
    uint64_t row_bytes = stored ? f->coders[t - f->model->tensors].row_bytes : sizeof(float);
    int fits = stored ? 1 : qc_mul_size(row_bytes, t->dims[0], &row_bytes);
    return fits && qc_mul_size(row_bytes, t->dims[1], bytes) && *bytes <= SIZE_MAX / 2;
}

int forward_matrix_bytes(const forward *f, const model_tensor *t, uint64_t *bytes)
{
    return matrix_bytes(f, t, forward_as_stored(f, t), bytes);
}

static decoded *find_decoded(const forward *f, const model_tensor *t, uint64_t matrix, int stored)
{
    for (size_t i = 0; i < f->n_decoded; i++)
        if (f->decoded[i].tensor == t && f->decoded[i].matrix == matrix && f->decoded[i].stored == stored)
            return &f->decoded[i];
    return NULL;
}

static void drop_unused(forward *f)
{
    size_t kept = 0;
    for (size_t i = 0; i < f->n_decoded; i++) {
        decoded *d = &f->decoded[i];
        if (d->tensor) {
            f->decoded[kept++] = *d;
            continue;
        }
        pages_free(d->values, (size_t)d->bytes);
        f->decoded_bytes -= d->bytes;
    }
    f->n_decoded = kept;
}

static qc_status check_room(const forward *f, qc_job *job, const model_tensor *t, int stored, uint64_t bytes)
{
    if (f->decoded_bytes <= f->memory && bytes <= f->memory - f->decoded_bytes)
        return QC_OK;
    return qc_fail(job, QC_E_LIMIT,
                   "%s needs %llu MiB of memory%s, beside %llu MiB; run.memory "
                   "leaves %llu MiB for both",
                   t->name, (unsigned long long)(bytes >> 20) + 1, stored ? "" : " as float32",
                   (unsigned long long)(f->decoded_bytes >> 20), (unsigned long long)(f->memory >> 20));
}

/* Room for a matrix: that of one of equal size which is no longer needed (the blocks of a model are alike), or new. */
static qc_status find_room(forward *f, qc_job *job, const model_tensor *t, int stored, decoded **out)
{
    uint64_t bytes;
    if (!matrix_bytes(f, t, stored, &bytes) || bytes == 0)
        return qc_fail(job, QC_E_LIMIT, "%s: its size does not fit in memory", t->name);
    for (size_t i = 0; i < f->n_decoded; i++)
        if (!f->decoded[i].tensor && f->decoded[i].bytes == bytes) {
            *out = &f->decoded[i];
            return QC_OK;
        }
    drop_unused(f);
    qc_status status = check_room(f, job, t, stored, bytes);
    if (status != QC_OK)
        return status;
    void *values = NULL;
    if (array_reserve(&f->decoded, &f->capacity, f->n_decoded, sizeof *f->decoded))
        values = pages_new((size_t)bytes);
    if (!values)
        return qc_fail(job, QC_E_NOMEM, "%s: out of memory for %llu bytes", t->name, (unsigned long long)bytes);
    *out = &f->decoded[f->n_decoded++];
    **out = (decoded){.values = values, .bytes = bytes};
    f->decoded_bytes += bytes;
    return QC_OK;
}

/* One matrix, read unless it is there already. */
static qc_status take(forward *f, qc_job *job, const model_tensor *t, uint64_t matrix, int stored, const void **values)
{
    const decoded *found = find_decoded(f, t, matrix, stored);
    decoded *room = NULL;
    *values = found ? found->values : NULL;
    if (found)
        return QC_OK;
    qc_status status = find_room(f, job, t, stored, &room);
    if (!room)
        return status;
    uint64_t row = matrix * t->dims[1];
    status = stored ? forward_read(f, job, t, row, (size_t)t->dims[1], room->values)
                    : forward_decode(f, job, t, row, (size_t)t->dims[1], room->values);
    if (status != QC_OK)
        return status;
    room->tensor = t;
    room->matrix = matrix;
    room->stored = stored;
    *values = room->values;
    return QC_OK;
}

qc_status forward_take(forward *f, qc_job *job, const model_tensor *t, uint64_t matrix, const float **values)
{
    const void *taken;
    qc_status status = take(f, job, t, matrix, 0, &taken);
    *values = taken;
    return status;
}

qc_status forward_take_stored(forward *f, qc_job *job, const model_tensor *t, uint64_t matrix, const void **bytes)
{
    return take(f, job, t, matrix, 1, bytes);
}

/* In the room of the one that is replaced. */
qc_status forward_replace(forward *f, qc_job *job, const model_tensor *t, uint64_t matrix, float **values)
{
    decoded *room = find_decoded(f, t, matrix, 0);
    qc_status status = room ? QC_OK : find_room(f, job, t, 0, &room);
    *values = room ? room->values : NULL;
    if (!room)
        return status;
    room->tensor = t;
    room->matrix = matrix;
    room->stored = 0;
    room->replaced = 1;
    return QC_OK;
}

qc_status forward_weight(forward *f, qc_job *job, const char *name, int32_t expert, const float **w, size_t *rows,
                         size_t *cols)
{
    const model_tensor *t = forward_tensor(f, name);
    uint64_t matrix = expert > 0 ? (uint64_t)expert : 0;
    if (!t || matrix >= t->dims[2] * t->dims[3])
        return qc_fail(job, QC_E_INVALID, "the model has no weight %s", name);
    *rows = (size_t)t->dims[1];
    *cols = (size_t)t->dims[0];
    return forward_take(f, job, t, matrix, w);
}

void forward_rest(forward *f)
{
    for (size_t i = 0; i < f->n_decoded; i++)
        if (!f->decoded[i].replaced)
            f->decoded[i].tensor = NULL;
    drop_unused(f);
}

void forward_leave(forward *f)
{
    for (size_t i = 0; i < f->n_decoded; i++) {
        f->decoded[i].tensor = NULL;
        f->decoded[i].replaced = 0;
    }
}

void forward_forget(forward *f)
{
    forward_leave(f);
    drop_unused(f);
}
