/* What a scan reported: copies of tensors and metadata, checked one by one as they come. */
#ifndef CORE_CONTENTS_H
#define CORE_CONTENTS_H

#include "qcore/format.h"

typedef struct contents {
    qc_scan scan; /* hand this to a plugin */
    const qc_source *source; /* tensors that lie in its files are held against their lengths; NULL: no such check */
    qc_tensor **tensors;
    qc_meta **metas;
    size_t n_tensors, n_metas, tensor_capacity, meta_capacity;
} contents;

void contents_init(contents *c, const qc_source *source);
void contents_free(contents *c);

/* Forgets metadata from index n on. */
void contents_cut_metas(contents *c, size_t n);

/* Fails where two tensors or two keys have one name. After a scan. */
qc_status contents_check(const contents *c, qc_job *job);

/* Rows of a tensor. */
uint64_t tensor_rows(const qc_tensor *t);

/* Is it in parts, so that only its format's `load` knows where its rows are? */
static inline int tensor_in_parts(const qc_tensor *t)
{
    return t->file == QC_FILE_PARTS;
}

const qc_meta *metas_find(qc_meta *const *metas, size_t n, const char *key); /* NULL: none */
/* A count from "<general.architecture>.<key>": a number, or element `layer` of an array; fallback where there is none. */
uint64_t metas_count(qc_meta *const *metas, size_t n, const char *key, size_t layer, uint64_t fallback);

#endif
