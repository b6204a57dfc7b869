/* Arrays of packed checkpoints put together: which are a linear's, whether their shapes agree, and which encoding keeps
 * what they say. */
#include "qcore/number.h"
#include "read_packed.h"
#include <stdlib.h>

/* Arrays of a linear, by the end of their names. `codes` comes first: without it the others mean nothing. */
static const char *const suffixes[][5] = {
    [PK_GPTQ] = {".qweight", ".scales", ".qzeros", ".g_idx"},
    [PK_AWQ] = {".qweight", ".scales", ".qzeros"},
    [PK_COMPRESSED_TENSORS] = {".weight_packed", ".weight_scale", ".weight_zero_point", ".weight_g_idx",
                               ".weight_shape"},
};
enum { CODES, SCALES, ZEROS, GROUPS, SHAPE, N_PARTS };

#define PLAIN_CODES ".weight"

/* What compressed-tensors keeps of activations and caches, which weights do without. */
static const char *const of_activations[] = {
    ".input_scale", ".input_zero_point", ".output_scale", ".output_zero_point", ".k_scale",
    ".v_scale",     ".q_scale",          ".kv_scale",     ".k_zero_point",      ".v_zero_point"};
enum { N_OF_ACTIVATIONS = sizeof of_activations / sizeof *of_activations };

typedef struct gathering {
    qc_scan scan; /* first: takes what st_scan_files reports */
    const qc_scan *out;
    const pk_config *config;
    pk_index *index;
    pk_reader reader;
    size_t n_ambiguous; /* linears with zero fields that programs read differently */
    const char *ambiguous; /* the first */
} gathering;

/* ---- collecting ---- */

static qc_status grow(qc_job *job, pk_index *index)
{
    const qc_host *host = job->host;
    size_t capacity = index->capacity ? 2 * index->capacity : 64;
    qc_tensor **wider = host->alloc(host, capacity * sizeof *wider);
    if (!wider)
        return qc_fail(job, QC_E_NOMEM, "out of memory for the list of tensors");
    if (index->n_arrays)
        memcpy(wider, index->arrays, index->n_arrays * sizeof *wider);
    host->free(host, index->arrays);
    index->arrays = wider;
    index->capacity = capacity;
    return QC_OK;
}

static qc_status collect(const qc_scan *scan, qc_job *job, const qc_tensor *t)
{
    pk_index *index = ((const gathering *)(const void *)scan)->index;
    size_t name = strlen(t->name) + 1;
    qc_status status = index->n_arrays == index->capacity ? grow(job, index) : QC_OK;
    qc_tensor *copy = status == QC_OK ? job->host->alloc(job->host, sizeof *copy + name) : NULL;
    if (!copy)
        return qc_fail(job, QC_E_NOMEM, "out of memory for the list of tensors");
    *copy = *t;
    copy->name = memcpy(copy + 1, t->name, name);
    index->arrays[index->n_arrays++] = copy;
    return QC_OK;
}

static qc_status pass_meta(const qc_scan *scan, qc_job *job, const qc_meta *meta)
{
    const qc_scan *out = ((const gathering *)(const void *)scan)->out;
    return out->meta(out, job, meta);
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const qc_tensor *const *)a)->name, (*(const qc_tensor *const *)b)->name);
}

/* The array "PREFIX SUFFIX", where prefix is the first n characters of a name; NULL: none. */
static const qc_tensor *find(const pk_index *index, const char *prefix, size_t n, const char *suffix)
{
    size_t low = 0, high = index->n_arrays;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const char *name = index->arrays[middle]->name;
        int order = strncmp(name, prefix, n);
        order = order ? order : strcmp(name + n, suffix);
        if (order == 0)
            return index->arrays[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* ---- shapes ---- */

/* dims are fastest first; a vector has one row. */
static int has_shape(const qc_tensor *t, uint64_t rows, uint64_t cols)
{
    return t->n_dims == 2 && t->dims[1] == rows && t->dims[0] == cols;
}

static int is_vector(const qc_tensor *t, uint64_t n)
{
    return t->n_dims == 1 && t->dims[0] == n;
}

static uint64_t part_of(uint64_t n, uint64_t part)
{
    return n / part + (n % part != 0);
}

/* Words that n fields of b bits take; per_word: 0, or how many a word has. n < 2^53. */
static uint64_t words_of(uint64_t n, uint32_t bits, uint32_t per_word)
{
    return per_word ? part_of(n, per_word) : part_of(n * bits, 32);
}

static qc_status bad(const gathering *g, const qc_tensor *t, const char *what)
{
    return pk_bad(&g->reader, t, what);
}

static qc_status expect_dtype(const gathering *g, const qc_tensor *t, const char *encoding)
{
    char what[80];
    if (!strcmp(t->encoding, encoding))
        return QC_OK;
    snprintf(what, sizeof what, "holds %.20s where %.20s belong", t->encoding, encoding);
    return bad(g, t, what);
}

static qc_status expect_scales(const gathering *g, const qc_tensor *t)
{
    if (!strcmp(t->encoding, "f16") || !strcmp(t->encoding, "bf16") || !strcmp(t->encoding, "f32"))
        return QC_OK;
    return bad(g, t, "its scales are no F16, BF16 or F32");
}

/* The group length of a scheme that makes n_groups of the columns; 0: none does. */
static uint64_t group_length(const pk_scheme *s, uint64_t cols, uint64_t n_groups, int mixed)
{
    if (n_groups == 1 && (s->group == 0 || s->group >= cols || mixed))
        return cols;
    if (s->group && part_of(cols, s->group) == n_groups)
        return s->group;
    return mixed && n_groups && cols % n_groups == 0 ? cols / n_groups : 0;
}

/* ---- GPTQ and AWQ ---- */

/* Do the arrays have the shapes that so many bits make? Sets bits and cols. */
static int fits_gptq(pk_linear *l, uint32_t bits)
{
    uint64_t words = l->codes->dims[1];
    l->bits = bits;
    l->cols = l->groups ? l->groups->dims[0] : words * 32 / bits;
    return words_of(l->cols, bits, 0) == words && has_shape(l->zeros, l->n_groups, words_of(l->rows, bits, 0));
}

static qc_status check_gptq(const gathering *g, pk_linear *l)
{
    static const uint32_t widths[] = {4, 8, 2, 3};
    const pk_scheme *s = g->config->schemes;
    int found = 0;
    for (size_t i = 0; i < 4 && !found; i++)
        found = (g->config->mixed || widths[i] == s->bits) && fits_gptq(l, widths[i]);
    if (!found)
        return bad(g, l->codes, "its shape, those of its scales, qzeros and g_idx, and \"bits\" do not agree");
    l->zero_rule = g->config->zeros == PK_ZERO_LESS_ONES && l->bits == 3 ? PK_ZERO_LESS_ONE : g->config->zeros;
    return QC_OK;
}

static qc_status check_awq(const gathering *g, pk_linear *l)
{
    l->bits = 4;
    l->cols = l->codes->dims[1];
    if (l->rows % 8 || l->codes->dims[0] != l->rows / 8 || !has_shape(l->zeros, l->n_groups, l->rows / 8))
        return bad(g, l->codes, "its shape and those of its scales and qzeros do not agree");
    return QC_OK;
}

static qc_status complete_words(const gathering *g, pk_linear *l)
{
    const int is_gptq = g->config->method == PK_GPTQ;
    qc_status status = expect_dtype(g, l->codes, "i32");
    if (status == QC_OK)
        status = l->zeros ? expect_dtype(g, l->zeros, "i32") : bad(g, l->codes, "its qzeros are missing");
    if (status == QC_OK && l->groups)
        status = expect_dtype(g, l->groups, "i32");
    if (status != QC_OK)
        return status;
    if (l->codes->n_dims != 2 || l->scales->n_dims != 2 || (l->groups && l->groups->n_dims != 1))
        return bad(g, l->codes, "it, its scales and its g_idx do not have the dimensions of a linear");
    l->rows = l->scales->dims[0];
    l->n_groups = l->scales->dims[1];
    l->layout = is_gptq ? PK_DOWN : PK_ACROSS;
    l->block_rows = 1;
    if (is_gptq && l->codes->dims[0] != l->rows)
        return bad(g, l->codes, "it and its scales do not have as many outputs");
    status = is_gptq ? check_gptq(g, l) : check_awq(g, l);
    if (status != QC_OK)
        return status;
    l->group = group_length(g->config->schemes, l->cols, l->n_groups, g->config->mixed);
    return l->group ? QC_OK : bad(g, l->scales, "its number of groups is not what \"group_size\" makes");
}

/* ---- compressed-tensors ---- */

/* Sets n_groups and group; 0: the scales are not as this scheme has them. */
static int fits_scales(pk_linear *l, const pk_scheme *s)
{
    const qc_tensor *t = l->scales;
    l->block_rows = s->block_rows;
    l->group = s->group && s->group < l->cols ? s->group : l->cols;
    l->n_groups = part_of(l->cols, l->group);
    if (s->block_rows == 0)
        return t->bytes == t->row_bytes && t->dims[0] == 1; /* [], [1], [1, 1] */
    uint64_t rows = part_of(l->rows, s->block_rows);
    return has_shape(t, rows, l->n_groups) || (l->n_groups == 1 && is_vector(t, rows));
}

/* Zeros of packed codes are fields down a column; older files have one byte each. */
static int fits_zeros(const pk_linear *l, const pk_scheme *s)
{
    const qc_tensor *t = l->zeros;
    if (!t)
        return s->symmetric != 0;
    if (l->layout == PK_FP8)
        return 0;
    if (l->layout == PK_ALONG && !strcmp(t->encoding, "i32"))
        return has_shape(t, words_of(l->rows, l->bits, l->per_word), l->n_groups) && s->block_rows == 1;
    return !strcmp(t->encoding, "i8") && t->n_dims == l->scales->n_dims &&
           !memcmp(t->dims, l->scales->dims, sizeof t->dims);
}

/* Is it packed as this scheme says, in one way or the older one? */
static int fits_packed(pk_linear *l, const pk_scheme *s)
{
    uint64_t words = l->codes->dims[0];
    l->bits = s->bits;
    l->per_word = 0;
    if (s->is_float || !has_shape(l->codes, l->rows, words))
        return 0;
    if (words_of(l->cols, l->bits, 0) == words)
        return 1;
    l->per_word = 32 / l->bits;
    return words_of(l->cols, l->bits, l->per_word) == words;
}

static int fits_plain(pk_linear *l, const pk_scheme *s)
{
    l->bits = 8; /* whatever the scheme's: one byte each */
    return (s->is_float != 0) == (l->layout == PK_FP8);
}

static qc_status try_schemes(const gathering *g, pk_linear *l)
{
    for (size_t i = 0; i < g->config->n_schemes; i++) {
        const pk_scheme *s = &g->config->schemes[i];
        int codes = l->layout == PK_ALONG ? fits_packed(l, s) : fits_plain(l, s);
        if (codes && fits_scales(l, s) && fits_zeros(l, s))
            return QC_OK;
    }
    return bad(g, l->codes,
               "its shape, those of its weight_scale and weight_zero_point, and config_groups do not agree");
}

/* "weight_shape": [rows, cols], kept as I64. */
static qc_status read_shape(const gathering *g, const qc_tensor *shape, pk_linear *l)
{
    unsigned char bytes[16];
    const qc_source *src = g->reader.src;
    if (!shape)
        return bad(g, l->codes, "its weight_shape is missing");
    if (!is_vector(shape, 2) || strcmp(shape->encoding, "i64") != 0)
        return bad(g, shape, "it is not two numbers of 64 bits");
    qc_status status = src->read_at(src, g->reader.job, shape->file, shape->at, sizeof bytes, bytes);
    if (status != QC_OK)
        return status;
    l->rows = qc_load_le64(bytes);
    l->cols = qc_load_le64(bytes + 8);
    return l->rows <= ST_MAX_NUMBER / 64 && l->cols <= ST_MAX_NUMBER / 64 ? QC_OK : bad(g, shape, "it is absurd");
}

static qc_status complete_tensors(const gathering *g, const qc_tensor *shape, pk_linear *l)
{
    qc_status status = QC_OK;
    if (l->layout == PK_ALONG) {
        status = expect_dtype(g, l->codes, "i32");
        if (status == QC_OK)
            status = read_shape(g, shape, l);
    } else if (l->codes->n_dims == 2) {
        l->rows = l->codes->dims[1];
        l->cols = l->codes->dims[0];
    }
    if (status != QC_OK)
        return status;
    if (l->rows == 0 || l->cols == 0)
        return bad(g, l->codes, "it is no matrix");
    if (l->groups && (!is_vector(l->groups, l->cols) || strcmp(l->groups->encoding, "i32") != 0))
        return bad(g, l->groups, "it does not name a group for every input");
    return try_schemes(g, l);
}

/* ---- the whole ---- */

/* What a row of the matrix takes in the files, about. */
static uint64_t stored_row_bytes(const pk_linear *l)
{
    uint64_t bytes = l->codes->bytes + l->scales->bytes + (l->zeros ? l->zeros->bytes : 0);
    return part_of(bytes, l->rows);
}

static qc_status report_linear(gathering *g, qc_job *job, const char *name, size_t prefix, pk_linear *l,
                               uint64_t number)
{
    char encoding[32];
    qc_tensor t = {.size = sizeof t,
                   .n_dims = 2,
                   .file = QC_FILE_PARTS,
                   .dims = {l->cols, l->rows, 1, 1},
                   .encoding = encoding,
                   .at = number};
    int ambiguous = 0;
    qc_status status = pk_choose_encoding(&g->reader, l, encoding, &ambiguous);
    if (ambiguous)
        g->ambiguous = g->n_ambiguous++ ? g->ambiguous : l->zeros->name;
    size_t bytes = prefix + sizeof PLAIN_CODES;
    char *full = status == QC_OK ? job->host->alloc(job->host, bytes) : NULL;
    if (status != QC_OK)
        return status;
    if (!full)
        return qc_fail(job, QC_E_NOMEM, "out of memory for a name");
    snprintf(full, bytes, "%.*s" PLAIN_CODES, (int)prefix, name);
    t.name = full;
    t.row_bytes = stored_row_bytes(l);
    t.bytes = t.row_bytes * l->rows;
    status = g->out->tensor(g->out, job, &t);
    job->host->free(job->host, full);
    return status;
}

/* Length of the name before `suffix`; 0: it ends in something else. */
static size_t prefix_of(const char *name, const char *suffix)
{
    return suffix && st_ends_with(name, suffix) ? strlen(name) - strlen(suffix) : 0;
}

/* The linear whose codes are `t`: its prefix's length in *prefix, 0 where they are none. */
static pk_linear linear_of(const gathering *g, const qc_tensor *t, size_t *prefix, const qc_tensor **shape)
{
    const char *const *suffix = suffixes[g->config->method];
    pk_linear l = {.codes = t, .layout = PK_ALONG};
    *prefix = prefix_of(t->name, suffix[CODES]);
    if (!*prefix && g->config->method == PK_COMPRESSED_TENSORS) {
        l.layout = !strcmp(t->encoding, "f8_e4m3") ? PK_FP8 : PK_BYTES;
        int packed = l.layout == PK_FP8 || !strcmp(t->encoding, "i8");
        *prefix = packed ? prefix_of(t->name, PLAIN_CODES) : 0;
    }
    if (!*prefix)
        return l;
    l.scales = find(g->index, t->name, *prefix, suffix[SCALES]);
    l.zeros = find(g->index, t->name, *prefix, suffix[ZEROS]);
    l.groups = suffix[GROUPS] ? find(g->index, t->name, *prefix, suffix[GROUPS]) : NULL;
    *shape = suffix[SHAPE] ? find(g->index, t->name, *prefix, suffix[SHAPE]) : NULL;
    return l;
}

/* A part that belongs to codes, or to activations: not a tensor of its own. */
static qc_status is_part(const gathering *g, const qc_tensor *t, int *part)
{
    const char *const *suffix = suffixes[g->config->method];
    const int tensors = g->config->method == PK_COMPRESSED_TENSORS;
    *part = 0;
    for (size_t i = 0; tensors && i < N_OF_ACTIVATIONS && !*part; i++)
        *part = st_ends_with(t->name, of_activations[i]);
    for (size_t i = SCALES; i < N_PARTS && !*part; i++) {
        size_t n = prefix_of(t->name, suffix[i]);
        if (n == 0)
            continue;
        *part = 1;
        const qc_tensor *plain = tensors ? find(g->index, t->name, n, PLAIN_CODES) : NULL;
        int codes = plain && (!strcmp(plain->encoding, "i8") || !strcmp(plain->encoding, "f8_e4m3"));
        if (!codes && !find(g->index, t->name, n, suffix[CODES]))
            return bad(g, t,
                       plain ? "the weight beside it is not kept as codes" : "the codes that belong to it are missing");
    }
    return QC_OK;
}

static qc_status report(gathering *g, qc_job *job, const qc_tensor *t)
{
    size_t prefix;
    int part;
    const qc_tensor *shape = NULL;
    pk_linear l = linear_of(g, t, &prefix, &shape);
    qc_status status = is_part(g, t, &part);
    if (status != QC_OK || part)
        return status;
    if (!prefix)
        return g->out->tensor(g->out, job, t);
    if (!l.scales)
        return bad(g, t, "its scales are missing");
    status = expect_scales(g, l.scales);
    if (status == QC_OK)
        status = g->config->method == PK_COMPRESSED_TENSORS ? complete_tensors(g, shape, &l) : complete_words(g, &l);
    if (status == QC_OK && (l.rows == 0 || l.cols == 0 || l.n_groups == 0))
        status = bad(g, t, "it is empty");
    if (status != QC_OK)
        return status;
    size_t number = g->index->n_linears++;
    g->index->linears[number] = l;
    return report_linear(g, job, t->name, prefix, &g->index->linears[number], number);
}

static void warn_of_zeros(const gathering *g, qc_job *job)
{
    char text[400];
    if (!g->n_ambiguous)
        return;
    snprintf(
        text, sizeof text,
        "%zu linears (%.150s is the first) have zero points stored as 2^bits - 1, which GPTQ's first format means "
        "for 0 but some of its writers spoil the fields beside: if results are poor, start from the original model",
        g->n_ambiguous, g->ambiguous);
    job->host->log(job->host, QC_LOG_WARNING, text);
}

static qc_status put_together(gathering *g, qc_job *job)
{
    pk_index *index = g->index;
    qc_status status = QC_OK;
    if (index->n_arrays)
        qsort(index->arrays, index->n_arrays, sizeof *index->arrays, by_name);
    index->linears = job->host->alloc(job->host, (index->n_arrays + 1) * sizeof *index->linears);
    if (!index->linears)
        return qc_fail(job, QC_E_NOMEM, "out of memory for the list of linears");
    for (size_t i = 0; i < index->n_arrays && status == QC_OK; i++)
        status = report(g, job, index->arrays[i]);
    if (status == QC_OK)
        warn_of_zeros(g, job);
    return status;
}

qc_status pk_scan(qc_job *job, const qc_source *src, const qc_scan *out, const pk_config *c, void **index)
{
    gathering g = {.scan = {sizeof g.scan, collect, pass_meta}, .out = out, .config = c};
    g.reader.job = job;
    g.reader.src = src;
    *index = NULL;
    g.index = job->host->alloc(job->host, sizeof *g.index);
    if (!g.index)
        return qc_fail(job, QC_E_NOMEM, "out of memory for the list of tensors");
    memset(g.index, 0, sizeof *g.index);
    qc_status status = st_scan_files(job, src, &g.scan);
    if (status == QC_OK)
        status = put_together(&g, job);
    pk_free_rooms(&g.reader);
    if (status == QC_OK)
        *index = g.index;
    else
        pk_release(job->host, g.index);
    return status;
}

void pk_release(const qc_host *host, void *index)
{
    pk_index *found = index;
    if (!found)
        return;
    for (size_t i = 0; i < found->n_arrays; i++)
        host->free(host, found->arrays[i]);
    host->free(host, found->arrays);
    host->free(host, found->linears);
    host->free(host, found);
}
