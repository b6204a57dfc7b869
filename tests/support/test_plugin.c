#include "test_plugin.h"
#include <dlfcn.h>
#include <stdlib.h>

#ifndef QC_PLUGIN_DIR
#define QC_PLUGIN_DIR "plugins"
#endif

const qc_plugin *test_plugin_open(const char *name)
{
    char path[4096];
    const char *folder = getenv("QC_PLUGIN_DIR");
    snprintf(path, sizeof path, "%s/%s/libqc_%s.so", folder ? folder : QC_PLUGIN_DIR, name, name);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const qc_plugin *plugin = library ? dlsym(library, QC_PLUGIN_SYMBOL) : NULL;
    if (!plugin) {
        fprintf(stderr, "%s: %s\n", path, dlerror());
        abort();
    }
    return plugin;
}

const qc_format_desc *test_format_open(const char *name)
{
    const qc_plugin *plugin = test_plugin_open(name);
    for (uint32_t i = 0; i < plugin->n_descs; i++)
        if (!strcmp(plugin->descs[i]->kind, QC_KIND_FORMAT))
            return (const qc_format_desc *)(const void *)plugin->descs[i];
    fprintf(stderr, "plugin %s has no format\n", name);
    abort();
}
