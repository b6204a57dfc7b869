/* The inside of a registry, shared by registry.c, discover.c and backends.c. */
#ifndef CORE_REGISTRY_IMPL_H
#define CORE_REGISTRY_IMPL_H

#include "core/cpu.h"
#include "core/manifest.h"
#include "core/op_tables.h"

typedef struct slot {
    plugin_entry *entry; /* its manifest's */
    size_t manifest_index, found; /* found: place in the order of discovery */
    void *desc; /* descriptor_copy, once opened */
} slot;

struct registry {
    cpu cpu;
    manifest **manifests; /* in the order of discovery */
    const qc_plugin **libraries; /* of each manifest, once opened */
    size_t n_manifests, manifest_capacity;
    slot *slots; /* sorted by kind, then id */
    size_t n;
    op_tables *tables; /* once backends were loaded */
};

/* Adds the manifests of one folder of the search path. A folder that does not exist holds none. */
qc_status discover(qc_job *job, registry *r, const char *folder);

#endif
