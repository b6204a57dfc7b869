/* A recipe: the YAML file as structs, checked for keys, types and ranges. The only place that knows its grammar. */
#ifndef CORE_RECIPE_H
#define CORE_RECIPE_H

#include "qcore/host.h"

enum { RECIPE_CONTEXT = 512 }; /* tokens of a window where nothing else is said */
enum { RUN_MAX_THREADS = 1024, RUN_MIN_MEMORY = 1 << 20 };

/* Inputs are the original model's; or come from blocks that are quantized already; or also from this block's linears. */
enum { SEQUENTIAL_NONE, SEQUENTIAL_BLOCK, SEQUENTIAL_LINEAR };

/* How evaluation multiplies: in float32; or inputs in 8 bits by weights as they are stored (forward_open_quantized). */
enum { MATMUL_EXACT, MATMUL_QUANTIZED };

/* Where in which file a thing was said; line 0: nowhere (a default). */
typedef struct place {
    const char *file; /* owned by the recipe */
    unsigned line, column;
} place;

/* A plugin named in a recipe: `rtn`, or `{gptq: {damp: 0.02}}`. */
typedef struct plugin_use {
    char *id;
    char **names, **values; /* its settings */
    size_t n_settings;
    place at;
} plugin_use;

typedef struct text_list {
    char **items;
    size_t n;
} text_list;

typedef struct use_list {
    plugin_use *items;
    size_t n;
} use_list;

/* Opaque here: rules of recipe and preset, see rules.h. */
typedef struct rule_list rule_list;

typedef struct recipe {
    const char *path; /* of the recipe file; NULL: none */
    struct {
        char *path;
        plugin_use format, architecture, tokenizer;
        place at;
    } model; /* id NULL: find out */
    struct {
        char *imatrix; /* a file of statistics to use; excludes text */
        text_list text; /* files to calibrate on; none: no calibration */
        uint64_t tokens, context; /* at most; 0: all. Of a window; default 512 */
        text_list record; /* words of QC_STAT_*; none: what the methods want */
        int sequential; /* SEQUENTIAL_*: what a block's inputs are taken from */
        int output_weight; /* also record the input of output.weight (llama-imatrix: --process-output) */
        char *output; /* where to save what was recorded, or NULL */
        place at;
    } calibration;
    struct {
        rule_list *rules; /* the preset's, then the recipe's */
        const plugin_use *methods; /* in order; borrowed from the rules */
        size_t n_methods;
        place at;
    } quantize;
    struct {
        char *path;
        plugin_use format;
        int overwrite;
        place at;
    } output;
    struct {
        text_list text;
        char *reference; /* a model, or a base file of llama.cpp; NULL: the recipe's model, where it writes another */
        uint64_t tokens, context, stride; /* at most; 0: all. Of a window; default 512. 0: windows side by side */
        use_list metrics; /* none: perplexity, and kld where there is a reference */
        int layers; /* the layer view too; -1: where there is something to compare with */
        place at; /* file NULL: no evaluation */
    } evaluate;
    struct {
        char **paths;
        size_t n_paths;
    } plugins;
    struct {
        uint64_t memory;
        unsigned threads;
        uint64_t seed;
        int exact;
        int matmul; /* MATMUL_* */
        char *backend; /* NULL: the best that fit */
        text_list ops; /* "matrix.gemm=scalar" */
    } run;
    char **names; /* of files and --set arguments, which places point to */
    size_t n_names;
} recipe;

/* What a command cannot do without. */
enum {
    RECIPE_OUTPUT = 1 /* output.path and quantize */,
    RECIPE_CALIBRATION = 2 /* calibration.text */,
    RECIPE_EVALUATE = 4 /* evaluate */
};

/* One key put in place from the command line: `set` is "quantize.preset=Q4_K_M"; `name` is how messages call it
 * ("--tokens"); NULL: "--set " and the text itself. */
typedef struct override_arg {
    const char *name, *set;
} override_arg;

/* Site defaults (site.h), then the file, then overrides ("quantize.preset=Q4_K_M"), in this order. path NULL: overrides
 * alone. Relative paths in a recipe start at the current folder. */
qc_status recipe_open(qc_job *job, const char *path, const override_arg *sets, size_t n_sets, unsigned needs,
                      recipe **out);
void recipe_free(recipe *r);

#endif
