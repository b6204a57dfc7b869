#include "meta_text.h"
#include <stdlib.h>

enum { MAX_LINE = 512, MAX_VALUES = 32 };

static const struct value_type {
    const char *name;
    uint32_t type;
} types[] = {{"u32", QC_U32}, {"i32", QC_I32}, {"f32", QC_F32}, {"bool", QC_BOOL}, {"text", QC_TEXT}};

typedef union values {
    uint32_t u32[MAX_VALUES];
    int32_t i32[MAX_VALUES];
    float f32[MAX_VALUES];
    uint8_t flag[MAX_VALUES];
    qc_text text[MAX_VALUES];
} values;

static void set_value(values *v, uint32_t type, size_t i, const char *word)
{
    if (type == QC_U32)
        v->u32[i] = (uint32_t)strtoul(word, NULL, 10);
    else if (type == QC_I32)
        v->i32[i] = (int32_t)strtol(word, NULL, 10);
    else if (type == QC_F32)
        v->f32[i] = strtof(word, NULL);
    else if (type == QC_BOOL)
        v->flag[i] = word[0] == '1';
    else
        v->text[i] = (qc_text){word, strlen(word)};
}

static int find_type(const char *name, uint32_t *type)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strncmp(name, types[i].name, strlen(types[i].name)) == 0) {
            *type = types[i].type;
            return 1;
        }
    return 0;
}

static void add_line(memory_model *m, char *line)
{
    char *words[MAX_VALUES + 2], *rest = NULL;
    size_t n = 0;
    for (char *w = strtok_r(line, " ", &rest); w && n < MAX_VALUES + 2; w = strtok_r(NULL, " ", &rest))
        words[n++] = w;
    uint32_t type;
    if (n < 3 || !find_type(words[1], &type))
        return;
    values v;
    for (size_t i = 2; i < n; i++)
        set_value(&v, type, i - 2, words[i]);
    int is_array = n > 3 || strstr(words[1], "[]") != NULL;
    const qc_meta meta = {sizeof meta, words[0], type, (uint32_t)is_array, n - 2, &v};
    memory_model_add_meta(m, &meta);
}

void meta_text_add(memory_model *m, const char *text)
{
    char line[MAX_LINE];
    for (; *text; text += strcspn(text, "\n"), text += *text == '\n') {
        size_t n = strcspn(text, "\n");
        if (n >= sizeof line)
            continue;
        memcpy(line, text, n);
        line[n] = '\0';
        add_line(m, line);
    }
}

/* The last of a name: tests add to what others began. */
static const qc_meta *find_last(const qc_metadata *api, const char *key)
{
    const memory_model *m = ((const meta_view *)(const void *)api)->model;
    for (size_t i = m->model.n_metas; i-- > 0;)
        if (strcmp(m->metas[i]->key, key) == 0)
            return m->metas[i];
    return NULL;
}

meta_view meta_view_of(const memory_model *m)
{
    return (meta_view){{sizeof(qc_metadata), find_last}, m};
}
