/* Manifests as objects: their kinds, paths, making and freeing. manifest_read.c reads them. */
#include "core/manifest.h"
#include "core/paths.h"
#include <stdlib.h>
#include <string.h>

/* Kinds by the word of their sections, and the keys that a section may have beside `summary`. */
static const struct kind_word {
    const char *word, *kind, *keys;
} kinds[] = {
    {"method", QC_KIND_METHOD, "needs statistics orders tokens"},
    {"encoding", QC_KIND_ENCODING, "bits"},
    {"format", QC_KIND_FORMAT, "files holds writes counts"},
    {"backend", QC_KIND_BACKEND, "exact"},
    {"architecture", QC_KIND_ARCHITECTURE, "classes gguf"},
    {"tokenizer", QC_KIND_TOKENIZER, "files rank gguf"},
    {"metric", QC_KIND_METRIC, "default short"},
};

static const struct kind_word *find_kind(const char *word)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (!strcmp(kinds[i].word, word))
            return &kinds[i];
    return NULL;
}

const char *kind_of_word(const char *word)
{
    const struct kind_word *k = find_kind(word);
    return k ? k->kind : NULL;
}

const char *kind_keys(const char *word)
{
    const struct kind_word *k = find_kind(word);
    return k ? k->keys : NULL;
}

int kind_is_known(const char *kind)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (!strcmp(kinds[i].kind, kind))
            return 1;
    return 0;
}

manifest *manifest_new(const char *path)
{
    manifest *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->path = strdup(path);
    m->abi_major = UINT32_MAX;
    if (m->path)
        return m;
    free(m);
    return NULL;
}

manifest *manifest_unreadable(const char *path, const char *folder_name, plugin_state state, const char *why)
{
    manifest *m = manifest_new(path);
    plugin_entry *e = m ? calloc(1, sizeof *e) : NULL;
    if (!e) {
        manifest_free(m);
        return NULL;
    }
    *e = (plugin_entry){.manifest = m, .state = state};
    e->kind = strdup("plugin");
    e->id = strdup(folder_name);
    e->why = strdup(why);
    m->entries = e;
    m->n_entries = 1;
    if (e->kind && e->id && e->why)
        return m;
    manifest_free(m);
    return NULL;
}

static char *folder_of(const manifest *m)
{
    const char *slash = strrchr(m->path, '/');
    return slash ? strndup(m->path, (size_t)(slash - m->path)) : strdup(".");
}

char *manifest_library(const manifest *m)
{
    char name[256];
    char *folder = folder_of(m);
    snprintf(name, sizeof name, "lib%s.so", m->library);
    char *path = folder ? path_join(folder, name) : NULL;
    free(folder);
    return path;
}

static void free_entry(plugin_entry *e)
{
    for (size_t i = 0; i < e->n_settings; i++) {
        setting_spec *s = &e->settings[i];
        for (char **c = s->choices; c && *c; c++)
            free(*c);
        free(s->choices);
        free(s->name);
        free(s->help);
        free(s->unit);
        free(s->text);
    }
    for (size_t i = 0; i < e->n_keys; i++) {
        free(e->keys[i]);
        free(e->values[i]);
    }
    free(e->settings);
    free(e->keys);
    free(e->values);
    free(e->kind);
    free(e->id);
    free(e->summary);
    free(e->why);
}

void manifest_free(manifest *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->n_entries; i++)
        free_entry(&m->entries[i]);
    free(m->entries);
    free(m->path);
    free(m->name);
    free(m->version);
    free(m->library);
    free(m->license);
    free(m->source);
    free(m->cpu);
    free(m);
}
