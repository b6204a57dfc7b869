/* What a folder says of how its linears are quantized. */
#include "read_packed.h"

enum { MAX_CONFIG_BYTES = 16 << 20, LARGEST_GROUP = 1 << 30 };

typedef struct configuring {
    qc_job *job;
    pk_config *out;
    const json_t *root; /* the quantization_config */
} configuring;

static qc_status refuse(const configuring *c, const char *what)
{
    return qc_fail(c->job, QC_E_UNSUPPORTED, "%s: %s", c->out->file, what);
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

/* A whole number of one of two keys; `otherwise` where both are absent or null. */
static qc_status read_number(const configuring *c, const json_t *object, const char *key, const char *older, double low,
                             double high, double otherwise, double *number)
{
    const json_t *value = json_object_get(object, key);
    value = value || !older ? value : json_object_get(object, older);
    *number = value && !json_is_null(value) ? json_number_value(value) : otherwise;
    int whole = *number >= low && *number <= high && *number == (double)(int64_t)*number;
    if (whole && (!value || json_is_null(value) || json_is_number(value)))
        return QC_OK;
    return qc_fail(c->job, QC_E_INVALID, "%s: \"%s\" of the quantization is not a whole number from %g to %g",
                   c->out->file, key, low, high);
}

/* "bits" and "group_size" of GPTQ and AWQ; -1 is the whole row. */
static qc_status read_scheme(const configuring *c, pk_scheme *s)
{
    double bits, group = -1;
    qc_status status = read_number(c, c->root, "bits", "w_bit", 2, PK_MAX_BITS, -1, &bits);
    if (status == QC_OK)
        status = read_number(c, c->root, "group_size", "q_group_size", -1, LARGEST_GROUP, -1, &group);
    if (status == QC_OK)
        *s = (pk_scheme){.bits = (uint32_t)bits, .group = group > 0 ? (uint64_t)group : 0, .block_rows = 1};
    return status;
}

/* ---- GPTQ ---- */

static int starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

/* "meta": {"quantizer": ["gptqmodel:7.7.0"]}, or a text. */
static int made_by_gptqmodel(const json_t *root)
{
    const json_t *quantizer = json_object_get(json_object_get(root, "meta"), "quantizer");
    const char *first = json_string_value(json_is_array(quantizer) ? json_array_get(quantizer, 0) : quantizer);
    return first && starts_with(first, "gptqmodel");
}

static qc_status read_gptq(const configuring *c)
{
    const char *version = text_of(c->root, "checkpoint_format");
    version = *version ? version : text_of(c->root, "format");
    if (*version && strcmp(version, "gptq") != 0 && strcmp(version, "gptq_v2") != 0)
        return qc_fail(c->job, QC_E_UNSUPPORTED,
                       "%s: GPTQ in the format \"%.40s\" cannot be read; gptq and gptq_v2 can", c->out->file, version);
    c->out->zeros = made_by_gptqmodel(c->root) ? PK_ZERO_LESS_ONES : PK_ZERO_LESS_ONE;
    if (!strcmp(version, "gptq_v2"))
        c->out->zeros = PK_ZERO_AS_IT_IS;
    c->out->mixed = json_object_size(json_object_get(c->root, "dynamic")) > 0;
    c->out->n_schemes = 1;
    qc_status status = read_scheme(c, c->out->schemes);
    uint32_t bits = c->out->schemes->bits;
    if (status == QC_OK && bits > 4 && bits != 8)
        return refuse(c, "GPTQ of 5, 6 or 7 bits cannot be read; 2, 3, 4 and 8 bits can");
    return status;
}

/* ---- AWQ ---- */

static qc_status read_awq(const configuring *c)
{
    const char *version = text_of(c->root, "version"), *backend = text_of(c->root, "backend");
    if (*version && strcmp(version, "gemm") != 0 && strcmp(version, "GEMM") != 0)
        return qc_fail(c->job, QC_E_UNSUPPORTED, "%s: AWQ of version \"%.40s\" cannot be read; gemm can", c->out->file,
                       version);
    if (!strcmp(backend, "llm-awq"))
        return refuse(c, "AWQ as llm-awq keeps it cannot be read; AutoAWQ's gemm can");
    qc_status status = read_scheme(c, c->out->schemes);
    c->out->n_schemes = 1;
    if (status == QC_OK && c->out->schemes->bits != 4)
        return refuse(c, "AWQ has 4 bits, not others");
    return status;
}

/* ---- compressed-tensors ---- */

static int is_known_format(const char *format)
{
    static const char *const known[] = {"pack-quantized",  "int-quantized",   "float-quantized",
                                        "naive-quantized", "mixed-precision", "dense"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(format, known[i]))
            return 1;
    return *format == '\0';
}

static qc_status check_format(const configuring *c, const char *format)
{
    if (is_known_format(format))
        return QC_OK;
    return qc_fail(c->job, QC_E_UNSUPPORTED,
                   "%s: compressed-tensors in the format \"%.60s\" cannot be read; pack-quantized, int-quantized, "
                   "float-quantized and naive-quantized can",
                   c->out->file, format);
}

/* [rows, cols] of a block that shares a scale. */
static qc_status read_block(const configuring *c, const json_t *weights, pk_scheme *s)
{
    const json_t *block = json_object_get(weights, "block_structure");
    const double rows = json_number_value(json_array_get(block, 0)), cols = json_number_value(json_array_get(block, 1));
    if (json_array_size(block) != 2 || !(rows >= 1 && rows <= LARGEST_GROUP && cols >= 1 && cols <= LARGEST_GROUP))
        return refuse(c, "\"block_structure\" is not a pair of sizes");
    s->block_rows = (uint64_t)rows;
    s->group = (uint64_t)cols;
    return QC_OK;
}

static qc_status read_strategy(const configuring *c, const json_t *weights, pk_scheme *s)
{
    const char *strategy = text_of(weights, "strategy");
    double group = 0;
    qc_status status = read_number(c, weights, "group_size", NULL, -1, LARGEST_GROUP, 0, &group);
    if (status != QC_OK)
        return status;
    s->block_rows = 1;
    if (!strcmp(strategy, "block"))
        return read_block(c, weights, s);
    if (!strcmp(strategy, "tensor") || (!*strategy && group == 0))
        s->block_rows = 0;
    else if (!strcmp(strategy, "group") || (!*strategy && group > 0))
        s->group = group > 0 ? (uint64_t)group : 0;
    else if (*strategy && strcmp(strategy, "channel") != 0)
        return qc_fail(c->job, QC_E_UNSUPPORTED, "%s: weights with the strategy \"%.40s\" cannot be read", c->out->file,
                       strategy);
    return QC_OK;
}

static qc_status read_group(const configuring *c, const char *name, const json_t *group)
{
    const json_t *weights = json_object_get(group, "weights");
    const char *type = text_of(weights, "type");
    double bits = 0;
    if (!json_is_object(group))
        return qc_fail(c->job, QC_E_UNSUPPORTED, "%s: config_groups: '%.60s' does not say how weights are kept",
                       c->out->file, name);
    if (!json_is_object(weights))
        return QC_OK; /* activations alone */
    if (c->out->n_schemes == PK_MAX_SCHEMES)
        return refuse(c, "too many config_groups");
    pk_scheme *s = &c->out->schemes[c->out->n_schemes++];
    *s = (pk_scheme){.is_float = !strcmp(type, "float"),
                     .symmetric = !json_is_false(json_object_get(weights, "symmetric"))};
    qc_status status = check_format(c, text_of(group, "format"));
    if (status == QC_OK)
        status = read_number(c, weights, "num_bits", NULL, 1, PK_MAX_BITS, 8, &bits);
    if (status != QC_OK)
        return status;
    s->bits = (uint32_t)bits;
    if (s->is_float && s->bits != 8)
        return refuse(c, "float weights of other than 8 bits cannot be read");
    return read_strategy(c, weights, s);
}

static qc_status read_compressed_tensors(const configuring *c)
{
    json_t *groups = json_object_get(c->root, "config_groups"), *group;
    const char *name;
    qc_status status = check_format(c, text_of(c->root, "format"));
    const char *sparsity = text_of(json_object_get(c->root, "sparsity_config"), "format");
    if (json_object_size(json_object_get(c->root, "transform_config")) > 0)
        return refuse(c, "\"transform_config\": the weights are rotated, which cannot be undone here");
    if (*sparsity && strcmp(sparsity, "dense") != 0)
        return refuse(c, "\"sparsity_config\": sparse weights cannot be read");
    json_object_foreach(groups, name, group)
    {
        if (status == QC_OK)
            status = read_group(c, name, group);
    }
    return status;
}

/* ---- which ---- */

static pk_method method_of(const char *name, pk_method otherwise)
{
    if (!strcmp(name, "gptq"))
        return PK_GPTQ;
    if (!strcmp(name, "awq"))
        return PK_AWQ;
    if (!strcmp(name, "compressed-tensors"))
        return PK_COMPRESSED_TENSORS;
    return *name ? PK_NONE : otherwise;
}

static qc_status read_as(qc_job *job, pk_config *out, const char *file, const json_t *root, pk_method otherwise)
{
    const configuring c = {job, out, root};
    out->file = file;
    out->method = method_of(text_of(root, "quant_method"), otherwise);
    switch (out->method) {
    case PK_GPTQ:
        return read_gptq(&c);
    case PK_AWQ:
        return read_awq(&c);
    case PK_COMPRESSED_TENSORS:
        return read_compressed_tensors(&c);
    default:
        return QC_OK;
    }
}

/* "quantization_config", older "compression_config", outside or in text_config. */
static const json_t *find_quantization(const json_t *config)
{
    static const char *const keys[] = {"quantization_config", "compression_config"};
    for (size_t i = 0; i < 4; i++) {
        const json_t *in = i % 2 ? json_object_get(config, "text_config") : config;
        const json_t *found = json_object_get(in, keys[i / 2]);
        if (json_is_object(found))
            return found;
    }
    return NULL;
}

/* Files that hold the same; they count where config.json says nothing. */
static const struct side_file {
    const char *name;
    pk_method method; /* where it does not say */
} side_files[] = {{"quantize_config.json", PK_GPTQ}, {"quant_config.json", PK_AWQ}};

qc_status pk_read_config(qc_job *job, const qc_source *src, pk_config *c)
{
    json_t *root = NULL;
    memset(c, 0, sizeof *c);
    qc_status status = qc_read_json(job, src, "config.json", 1, MAX_CONFIG_BYTES, &root);
    const json_t *found = status == QC_OK ? find_quantization(root) : NULL;
    if (found)
        status = read_as(job, c, "config.json", found, PK_NONE);
    for (size_t i = 0; i < 2 && !found && status == QC_OK; i++) {
        json_decref(root);
        status = qc_read_json(job, src, side_files[i].name, 1, MAX_CONFIG_BYTES, &root);
        found = root;
        if (found)
            status = read_as(job, c, side_files[i].name, found, side_files[i].method);
    }
    json_decref(root);
    return status;
}
