/* Format plugins from the command line, for comparing them with other programs.
 *
 *     format_tool dump FORMAT FILE                                     tensors (with data) and metadata as JSON
 *     format_tool copy FORMAT FILE FORMAT OUTPUT [SETTING=NUMBER ...]  scan, lay out and store
 *
 * FORMAT is a plugin's name. OUTPUT is a folder where the format says so. Exit status 1 and one line on stderr where a plugin refuses. */
#include "memory_source.h"
#include "test_host.h"
#include "test_plugin.h"
#include <stdlib.h>

enum { MAX_SETTINGS = 8 };

typedef struct input {
    test_host host;
    qc_job *job;
    const qc_format_desc *format;
    memory_folder folder;
    memory_model model;
    void *index;
    char path[4096];
} input;

static void stop(const test_host *th)
{
    fprintf(stderr, "error %d: %s\n", (int)th->status, th->message);
    exit(1);
}

static void open_input(input *in, const char *format, const char *path)
{
    const char *slash = strrchr(path, '/');
    uint32_t file;
    in->job = test_host_begin(&in->host);
    in->format = test_format_open(format);
    memory_folder_begin(&in->folder);
    memory_model_begin(&in->model);
    snprintf(in->path, sizeof in->path, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    in->folder.path = in->path;
    if (in->folder.source.open(&in->folder.source, in->job, slash ? slash + 1 : path, 0, &file) != QC_OK ||
        in->format->scan(in->job, &in->folder.source, &in->model.scan, &in->index) != QC_OK)
        stop(&in->host);
}

static void close_input(input *in)
{
    if (in->format->release)
        in->format->release(&in->host.host, in->index);
    memory_model_end(&in->model);
    memory_folder_end(&in->folder);
    test_host_end(&in->host);
}

static unsigned char *tensor_data(input *in, const qc_tensor *t)
{
    unsigned char *data = malloc(memory_tensor_bytes(t) + 1);
    if (!data)
        abort();
    if (memory_load(in->job, in->format, in->index, &in->folder, t, data) != QC_OK)
        stop(&in->host);
    return data;
}

static void print_hex(const void *data, size_t n)
{
    for (size_t i = 0; i < n; i++)
        printf("%02x", ((const unsigned char *)data)[i]);
}

/* Texts are printed in hex too: they may hold any byte. Numbers are their bytes, so that nothing is rounded. */
static void print_meta(const qc_meta *m)
{
    size_t bytes = memory_value_bytes(m->type);
    const qc_text *texts = m->data;
    printf("{\"key\": \"%s\", \"type\": %u, \"array\": %s, \"values\": [", m->key, m->type,
           m->is_array ? "true" : "false");
    for (uint64_t i = 0; i < m->count; i++) {
        printf("%s\"", i ? ", " : "");
        if (m->type == QC_TEXT)
            print_hex(texts[i].data, texts[i].length);
        else
            print_hex((const unsigned char *)m->data + i * bytes, bytes);
        printf("\"");
    }
    printf("]}");
}

static void print_tensor(input *in, const qc_tensor *t)
{
    unsigned char *data = tensor_data(in, t);
    printf("{\"name\": \"%s\", \"encoding\": \"%s\", \"dims\": [", t->name, t->encoding);
    for (uint32_t i = 0; i < t->n_dims; i++)
        printf("%s%llu", i ? ", " : "", (unsigned long long)t->dims[i]);
    printf("], \"file\": %u, \"at\": %llu, \"row_bytes\": %llu, \"data\": \"", t->file, (unsigned long long)t->at,
           (unsigned long long)t->row_bytes);
    print_hex(data, memory_tensor_bytes(t));
    printf("\"}");
    free(data);
}

static void dump(input *in)
{
    const qc_model *m = &in->model.model;
    printf("{\"metadata\": [");
    for (size_t i = 0; i < m->n_metas; i++) {
        printf("%s\n", i ? "," : "");
        print_meta(m->metas[i]);
    }
    printf("],\n\"tensors\": [");
    for (size_t i = 0; i < m->n_tensors; i++) {
        printf("%s\n", i ? "," : "");
        print_tensor(in, m->tensors[i]);
    }
    printf("]}\n");
}

static void write_file(const char *folder, const memory_file *file)
{
    char path[4096];
    snprintf(path, sizeof path, "%s%s%s", folder, file->name ? "/" : "", file->name ? file->name : "");
    FILE *out = fopen(path, "wb");
    if (!out || fwrite(file->data, 1, (size_t)file->length, out) != file->length || fclose(out) != 0) {
        perror(path);
        exit(1);
    }
}

static void copy(input *in, const char *format, const char *path, const qc_settings *settings)
{
    const qc_format_desc *to = test_format_open(format);
    const qc_model *m = &in->model.model;
    memory_folder out;
    void *index;
    memory_folder_begin(&out);
    if (to->layout(in->job, m, settings, &out.layout, &index) != QC_OK)
        stop(&in->host);
    for (size_t i = 0; i < m->n_tensors; i++) {
        unsigned char *data = tensor_data(in, m->tensors[i]);
        if (memory_store(in->job, to, index, &out, m->tensors[i], i, data) != QC_OK)
            stop(&in->host);
        free(data);
    }
    if (to->release)
        to->release(&in->host.host, index);
    for (uint32_t i = 0; i < out.n_files; i++)
        write_file(path, &out.files[i]);
    memory_folder_end(&out);
}

/* "name=number" arguments over the defaults of the two formats that write. */
static void read_settings(test_setting settings[MAX_SETTINGS], char **args, int n)
{
    int last = 0;
    for (int i = 0; i < n && last < MAX_SETTINGS - 3; i++) {
        char *equals = strchr(args[i], '=');
        if (!equals)
            continue;
        *equals = '\0';
        settings[last++] = (test_setting){args[i], strtod(equals + 1, NULL), NULL};
    }
    settings[last++] = (test_setting){"alignment", 32, NULL};
    settings[last++] = (test_setting){"shard_bytes", 5e9, NULL};
    settings[last] = (test_setting){NULL, 0, NULL};
}

int main(int argc, char **argv)
{
    static input in;
    test_setting settings[MAX_SETTINGS];
    int dumps = argc == 4 && !strcmp(argv[1], "dump");
    if (!dumps && !(argc >= 6 && !strcmp(argv[1], "copy"))) {
        fprintf(stderr, "usage: format_tool dump FORMAT FILE | copy FORMAT FILE FORMAT OUTPUT [SETTING=NUMBER ...]\n");
        return 2;
    }
    open_input(&in, argv[2], argv[3]);
    if (dumps) {
        dump(&in);
    } else {
        read_settings(settings, argv + 6, argc - 6);
        copy(&in, argv[4], argv[5], test_settings(settings));
    }
    close_input(&in);
    return 0;
}
