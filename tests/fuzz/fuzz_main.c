/* Runs a fuzz target without libFuzzer: every corpus file as it is, then mutations of it, always the same ones.
 *
 *     fuzz_NAME [--mutations N] [--seed S] [--trace] FILE_OR_FOLDER ...
 *
 * --trace prints the number of every case before it runs: after a crash, the last line says which one it was. */
#include "fuzz.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM = 1 << 16 }; /* for an input that grows */

typedef struct corpus {
    fuzz_input *inputs;
    size_t n;
} corpus;

static void *checked(void *p)
{
    if (!p) {
        perror("fuzz");
        exit(2);
    }
    return p;
}

static void add_file(corpus *c, const char *path)
{
    FILE *in = checked(fopen(path, "rb"));
    unsigned char *data = checked(malloc(ROOM));
    size_t size = fread(data, 1, ROOM, in);
    fclose(in);
    c->inputs = checked(realloc(c->inputs, (c->n + 1) * sizeof *c->inputs));
    c->inputs[c->n++] = (fuzz_input){checked(strdup(path)), data, size};
}

static int visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* A file, or the files of a folder in order of their names. */
static void add_path(corpus *c, const char *path)
{
    struct dirent **entries;
    int n = scandir(path, &entries, visible, alphasort);
    if (n < 0)
        add_file(c, path);
    for (int i = 0; i < n; i++) {
        char file[4096];
        snprintf(file, sizeof file, "%s/%s", path, entries[i]->d_name);
        add_file(c, file);
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
}

/* From a block of exactly this size, so that reading past its end is seen. */
static void run(const unsigned char *data, size_t size)
{
    unsigned char *copy = checked(malloc(size ? size : 1));
    memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static void run_mutations(const corpus *c, size_t i, unsigned long n, uint64_t seed, int trace)
{
    static unsigned char data[ROOM];
    for (unsigned long k = 0; k < n; k++) {
        fuzz_random r = {(seed * 1000003 + i) * 1000003 + k + 1};
        for (int warm_up = 0; warm_up < 8; warm_up++)
            fuzz_next(&r);
        size_t size = c->inputs[i].size;
        memcpy(data, c->inputs[i].data, size);
        fuzz_mutate(&r, data, &size, ROOM, &c->inputs[fuzz_below(&r, c->n)]);
        if (trace)
            fprintf(stderr, "%s: mutation %lu\n", c->inputs[i].name, k);
        run(data, size);
    }
}

int main(int argc, char **argv)
{
    corpus c = {0};
    unsigned long mutations = 0;
    uint64_t seed = 1;
    int trace = 0;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--mutations") && i + 1 < argc)
            mutations = strtoul(argv[++i], NULL, 10);
        else if (!strcmp(argv[i], "--seed") && i + 1 < argc)
            seed = strtoull(argv[++i], NULL, 10);
        else if (!strcmp(argv[i], "--trace"))
            trace = 1;
        else
            add_path(&c, argv[i]);
    }
    for (size_t i = 0; i < c.n; i++) {
        if (trace)
            fprintf(stderr, "%s\n", c.inputs[i].name);
        run(c.inputs[i].data, c.inputs[i].size);
        run_mutations(&c, i, mutations, seed, trace);
    }
    printf("%zu inputs, %lu mutations of each: no crash\n", c.n, mutations);
    for (size_t i = 0; i < c.n; i++) {
        free((void *)(uintptr_t)c.inputs[i].name);
        free(c.inputs[i].data);
    }
    free(c.inputs);
    return c.n > 0 ? 0 : 2;
}
