#include "metadata.h"

enum { MAX_KEY = 96 };

const qc_meta *meta_find(const reading *r, const char *key)
{
    char full[MAX_KEY];
    snprintf(full, sizeof full, "%s.%s", r->family->id, key);
    return r->metadata->find(r->metadata, full);
}

static double check_range(reading *r, const char *key, double number, double lowest, double highest)
{
    if (!(number >= lowest && number <= highest))
        meta_reject(r, QC_E_CORRUPT, key, "%.9g, not from %.9g to %.9g", number, lowest, highest);
    return r->status == QC_OK ? number : 0;
}

double meta_number(reading *r, const char *key, double otherwise, double lowest, double highest)
{
    const qc_meta *meta = meta_find(r, key);
    if (!meta && otherwise == NEEDED)
        meta_reject(r, QC_E_CORRUPT, key, "%s", "the model's metadata lacks it");
    if (!meta)
        return r->status == QC_OK ? otherwise : 0;
    if (meta->is_array || meta->type == QC_TEXT)
        meta_reject(r, QC_E_CORRUPT, key, "%s", "must be a number");
    if (r->status != QC_OK)
        return 0;
    char full[MAX_KEY];
    snprintf(full, sizeof full, "%s.%s", r->family->id, key);
    return check_range(r, key, qc_metadata_number(r->metadata, full, 0), lowest, highest);
}

static uint32_t whole(reading *r, const char *key, double number)
{
    uint32_t count = (uint32_t)number; /* within its range */
    if ((double)count != number)
        meta_reject(r, QC_E_CORRUPT, key, "%.9g, not a whole number", number);
    return r->status == QC_OK ? count : 0;
}

uint32_t meta_count(reading *r, const char *key, double otherwise, uint32_t lowest, uint32_t highest)
{
    return whole(r, key, meta_number(r, key, otherwise, lowest, highest));
}

/* Element i of an array of one of the types that such arrays have. */
static double element(const qc_meta *meta, uint32_t i)
{
    if (meta->type == QC_BOOL)
        return ((const uint8_t *)meta->data)[i];
    return meta->type == QC_I32 ? (double)((const int32_t *)meta->data)[i] : (double)((const uint32_t *)meta->data)[i];
}

void meta_counts(reading *r, const char *key, const uint32_t *otherwise, uint32_t lowest, uint32_t highest,
                 uint32_t *counts, uint32_t blocks)
{
    const qc_meta *meta = meta_find(r, key);
    if (!meta || !meta->is_array) {
        uint32_t one = !meta && otherwise ? 0 : meta_count(r, key, NEEDED, lowest, highest);
        for (uint32_t i = 0; i < blocks; i++)
            counts[i] = meta || !otherwise ? one : otherwise[i];
        return;
    }
    if (meta->type != QC_U32 && meta->type != QC_I32 && meta->type != QC_BOOL)
        meta_reject(r, QC_E_CORRUPT, key, "%s", "must be an array of whole numbers");
    if (meta->count != blocks)
        meta_reject(r, QC_E_CORRUPT, key, "%llu values for %u blocks", (unsigned long long)meta->count, blocks);
    for (uint32_t i = 0; i < blocks && r->status == QC_OK; i++)
        counts[i] = whole(r, key, check_range(r, key, element(meta, i), lowest, highest));
}
