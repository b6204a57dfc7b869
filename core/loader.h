/* Opens a plugin's library and makes full-size copies of its descriptors, each checked. */
#ifndef CORE_LOADER_H
#define CORE_LOADER_H

#include "core/cpu.h"
#include "core/manifest.h"

/* dlopen, entry symbol, stamp, and agreement with the manifest. Never closed. [main-thread] */
qc_status library_open(qc_job *job, const manifest *m, const qc_plugin **out);

/* What the host keeps of an encoding: ops are complete for this CPU. `desc` is first, as registry_open gives it out. */
typedef struct loaded_encoding {
    qc_encoding_desc desc; /* its `reference` points to the copy below */
    qc_ops_encoding reference, ops;
    const char *variant; /* the CPU level that ops were built for */
} loaded_encoding;

/* A zero-filled full-size copy (of an encoding: a loaded_encoding) with its mandatory members there. Owned: free. */
qc_status descriptor_copy(qc_job *job, const plugin_entry *e, const qc_plugin *plugin, cpu c, void **out);

/* Descriptor of an entry in a library, or NULL. */
const qc_desc *find_descriptor(const qc_plugin *plugin, const char *kind, const char *id);

/* Overwrites the members of a table of functions (uint32_t size first) that the other table has. Both of `size`. */
void overlay_table(void *table, const void *over, size_t size);

#endif
