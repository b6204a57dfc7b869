/* Full-size copies of descriptors and tables: the only ones that the core reads. */
#include "core/loader.h"
#include <stdlib.h>
#include <string.h>

#define END_OF(type, member) (offsetof(type, member) + sizeof(((type *)0)->member))

typedef qc_status (*check_fn)(qc_job *job, const plugin_entry *e, const void *desc);

static qc_status missing(qc_job *job, const plugin_entry *e, const char *member)
{
    return qc_fail(job, QC_E_UNSUPPORTED, "%s %s: mandatory member %s is NULL in its descriptor", e->kind, e->id,
                   member);
}

/* ---- one check a kind: members without which the core cannot use it, and agreement with plugin.ini ---- */

static qc_status check_statistics(qc_job *job, const plugin_entry *e, uint32_t statistics)
{
    static const char *const words[] = {"mean_square", "gram", "absmax", "samples"}; /* in the order of QC_STAT_* */
    const char *said = entry_value(e, "statistics");
    for (unsigned i = 0; said && i < 4; i++) {
        int in_manifest = strstr(said, words[i]) != NULL, in_library = (statistics >> i & 1) != 0;
        if (in_manifest != in_library)
            return qc_fail(job, QC_E_UNSUPPORTED, "method %s: plugin.ini says statistics = %s, its library %s %s",
                           e->id, said, in_library ? "wants also" : "does not want", words[i]);
    }
    return QC_OK;
}

static qc_status check_method(qc_job *job, const plugin_entry *e, const void *desc)
{
    const qc_method_desc *d = desc;
    if (!d->round && !d->transform)
        return missing(job, e, "round (or transform)");
    if (d->create && !d->destroy)
        return missing(job, e, "destroy");
    if (d->prepare && !d->release)
        return missing(job, e, "release");
    return check_statistics(job, e, d->statistics);
}

static qc_status check_geometry(qc_job *job, const plugin_entry *e, const qc_encoding_desc *d)
{
    int plain = d->block_cols == 1, whole_row = d->block_cols == 0;
    if (d->block_bytes == 0 || d->lowest > d->highest || (whole_row && (d->code_bits == 0 || d->code_bits > 32)))
        return qc_fail(job, QC_E_UNSUPPORTED, "encoding %s: blocks of %u weights in %u bytes with codes %d to %d",
                       e->id, d->block_cols, d->block_bytes, d->lowest, d->highest);
    if (whole_row && (d->sub_cols != 0 || d->snap_cols != 1))
        return qc_fail(job, QC_E_UNSUPPORTED, "encoding %s: blocks of a whole row have sub_cols 0 and snap_cols 1",
                       e->id);
    if (!plain && !whole_row &&
        (d->sub_cols == 0 || d->block_cols % d->sub_cols || d->snap_cols == 0 || d->sub_cols % d->snap_cols))
        return qc_fail(job, QC_E_UNSUPPORTED,
                       "encoding %s: sub_cols %u must divide block_cols %u, and snap_cols %u sub_cols", e->id,
                       d->sub_cols, d->block_cols, d->snap_cols);
    const char *bits = entry_value(e, "bits");
    double has = whole_row ? d->code_bits : 8.0 * d->block_bytes / d->block_cols,
           said = bits ? strtod(bits, NULL) : has;
    if (said - has > 0.001 || has - said > 0.001)
        return qc_fail(job, QC_E_UNSUPPORTED, "encoding %s: plugin.ini says bits = %s, its library has %.6g", e->id,
                       bits, has);
    return QC_OK;
}

static qc_status check_encoding(qc_job *job, const plugin_entry *e, const void *desc)
{
    const loaded_encoding *l = desc;
    if (!l->reference.decode)
        return missing(job, e, "reference->decode");
    if (!l->reference.encode && (!l->reference.fit || !l->reference.pack))
        return missing(job, e, "reference->encode (or fit and pack)");
    return check_geometry(job, e, &l->desc);
}

static qc_status check_format(qc_job *job, const plugin_entry *e, const void *desc)
{
    const qc_format_desc *d = desc;
    return d->scan || d->layout ? QC_OK : missing(job, e, "scan (or layout)");
}

static qc_status check_backend(qc_job *job, const plugin_entry *e, const void *desc)
{
    return ((const qc_backend_desc *)desc)->overlay ? QC_OK : missing(job, e, "overlay");
}

static qc_status check_architecture(qc_job *job, const plugin_entry *e, const void *desc)
{
    const qc_architecture_desc *d = desc;
    return !d->names ? missing(job, e, "names") : !d->import ? missing(job, e, "import") : QC_OK;
}

static qc_status check_tokenizer(qc_job *job, const plugin_entry *e, const void *desc)
{
    return ((const qc_tokenizer_desc *)desc)->import ? QC_OK : missing(job, e, "import");
}

static qc_status check_metric(qc_job *job, const plugin_entry *e, const void *desc)
{
    const qc_metric_desc *d = desc;
    if (!d->ask && !(d->base.flags & QC_METRIC_WINDOWS))
        return missing(job, e, "ask (or the flag QC_METRIC_WINDOWS)");
    if (d->n_values == 0 || !d->create || !d->destroy || !d->score || !d->take || !d->report)
        return missing(job, e, "n_values, create, destroy, score, take or report");
    return QC_OK;
}

/* `least` ends with the last member that the kind had at its birth: what came later may be absent. */
static const struct kind {
    const char *kind;
    size_t full, least;
    check_fn check;
} kinds[] = {
    {QC_KIND_METHOD, sizeof(qc_method_desc), END_OF(qc_method_desc, memory), check_method},
    {QC_KIND_ENCODING, sizeof(qc_encoding_desc), END_OF(qc_encoding_desc, validate), check_encoding},
    {QC_KIND_FORMAT, sizeof(qc_format_desc), END_OF(qc_format_desc, release), check_format},
    {QC_KIND_BACKEND, sizeof(qc_backend_desc), END_OF(qc_backend_desc, overlay), check_backend},
    {QC_KIND_ARCHITECTURE, sizeof(qc_architecture_desc), END_OF(qc_architecture_desc, import), check_architecture},
    {QC_KIND_TOKENIZER, sizeof(qc_tokenizer_desc), END_OF(qc_tokenizer_desc, import), check_tokenizer},
    {QC_KIND_METRIC, sizeof(qc_metric_desc), END_OF(qc_metric_desc, report), check_metric},
};

static const struct kind *find_kind(const char *kind)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (!strcmp(kinds[i].kind, kind))
            return &kinds[i];
    return NULL;
}

/* ---- tables of functions: uint32_t size, padding, then pointers only ---- */

typedef void (*any_fn)(void);
enum { FIRST_FUNCTION = sizeof(any_fn) > sizeof(uint32_t) ? sizeof(any_fn) : sizeof(uint32_t) };

void overlay_table(void *table, const void *over, size_t size)
{
    for (size_t at = FIRST_FUNCTION; at + sizeof(any_fn) <= size; at += sizeof(any_fn)) {
        any_fn f;
        memcpy(&f, (const char *)over + at, sizeof f);
        if (f)
            memcpy((char *)table + at, &f, sizeof f);
    }
}

/* Members that a plugin built with older or newer headers has in common with ours. */
static void overlay_ops(qc_ops_encoding *ops, const qc_ops_encoding *theirs)
{
    qc_ops_encoding copy = {0};
    memcpy(&copy, theirs, theirs->size < sizeof copy ? theirs->size : sizeof copy);
    overlay_table(ops, &copy, sizeof copy);
    ops->size = sizeof *ops;
}

static const qc_variant *best_variant(const qc_encoding_desc *d, cpu c)
{
    const qc_variant *best = NULL;
    int best_rank = -1;
    for (const qc_variant *v = d->variants; v && v->cpu; v++) {
        int rank = cpu_rank(c, v->cpu);
        if (v->ops && rank > best_rank) {
            best = v;
            best_rank = rank;
        }
    }
    return best;
}

static qc_status complete_encoding(qc_job *job, const plugin_entry *e, cpu c, loaded_encoding *l)
{
    if (!l->desc.reference)
        return missing(job, e, "reference");
    overlay_ops(&l->reference, l->desc.reference);
    l->desc.reference = &l->reference;
    l->ops = l->reference;
    const qc_variant *variant = best_variant(&l->desc, c);
    if (variant)
        overlay_ops(&l->ops, variant->ops);
    l->variant = variant ? variant->cpu : "portable";
    return QC_OK;
}

qc_status descriptor_copy(qc_job *job, const plugin_entry *e, const qc_plugin *plugin, cpu c, void **out)
{
    const struct kind *k = find_kind(kind_of_word(e->kind));
    const qc_desc *theirs = find_descriptor(plugin, k->kind, e->id);
    int is_encoding = !strcmp(k->kind, QC_KIND_ENCODING);
    if (theirs->size < k->least)
        return qc_fail(job, QC_E_UNSUPPORTED, "%s %s: its descriptor has %u bytes, %s needs at least %zu", e->kind,
                       e->id, (unsigned)theirs->size, k->kind, k->least);
    qc_desc *copy = calloc(1, is_encoding ? sizeof(loaded_encoding) : k->full);
    if (!copy)
        return job->fail(job, QC_E_NOMEM, "out of memory");
    memcpy(copy, theirs, theirs->size < k->full ? theirs->size : k->full);
    copy->size = (uint32_t)k->full;
    qc_status status = is_encoding ? complete_encoding(job, e, c, (loaded_encoding *)(void *)copy) : QC_OK;
    if (status == QC_OK)
        status = k->check(job, e, copy);
    if (status == QC_OK)
        *out = copy;
    else
        free(copy);
    return status;
}
