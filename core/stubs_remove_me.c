/* Temporary: what is still being written. */
#include "core/commands.h"
#include "core/evaluate.h"
#include "core/layers.h"
#include "core/statistics.h"
#define GONE return qc_fail(job, QC_E_INTERNAL, "still being written")
#if !__has_include("core/calibrate.c")
qc_status statistics_record(qc_job *job, registry *r, const recipe *recipe, const model *model, uint32_t wanted, progress *shown, statistics **out){(void)r;(void)recipe;(void)model;(void)wanted;(void)shown;(void)out;GONE;}
qc_status statistics_forecast(qc_job *job, registry *r, const recipe *recipe, const model *model, uint32_t wanted, uint64_t *bytes, uint64_t *steps){(void)r;(void)recipe;(void)model;(void)wanted;(void)bytes;(void)steps;GONE;}
#endif
#if !__has_include("core/statistics_write.c")
qc_status statistics_write(const statistics *s, qc_job *job, registry *r, const recipe *recipe, const char *path, uint32_t which){(void)s;(void)r;(void)recipe;(void)path;(void)which;GONE;}
#endif
#if !__has_include("core/statistics_print.c")
void statistics_print(const statistics *s, FILE *file){(void)s;(void)file;}
void statistics_json(const statistics *s, FILE *file){(void)s;(void)file;}
#endif
#if !__has_include("core/layers.c")
qc_status layers_compare(qc_job *job, registry *r, const recipe *recipe, const model *original, const model *written, const sequences *s, progress *shown, layer_view *out){(void)r;(void)recipe;(void)original;(void)written;(void)s;(void)shown;(void)out;GONE;}
void layers_free(layer_view *v){(void)v;}
void layers_print(const layer_view *v, size_t n, FILE *file){(void)v;(void)n;(void)file;}
void layers_json(const layer_view *v, json_out *out){(void)v;(void)out;}
#endif
#if !__has_include("core/evaluate.c")
qc_status evaluator_open(qc_job *job, registry *r, const recipe *recipe, const model *judged, const struct model *reference, evaluator **out){(void)r;(void)recipe;(void)judged;(void)reference;(void)out;GONE;}
void evaluator_free(evaluator *e){(void)e;}
int evaluator_is_base_file(qc_job *job, registry *r, const char *path){(void)job;(void)r;(void)path;return 0;}
qc_status evaluator_run(evaluator *e, qc_job *job, const model *model, progress *shown, evaluation *out){(void)e;(void)model;(void)shown;(void)out;GONE;}
uint64_t evaluator_steps(const evaluator *e, const model *model){(void)e;(void)model;return 0;}
void evaluation_free(evaluation *e){(void)e;}
void evaluation_print(const evaluation *e, FILE *file){(void)e;(void)file;}
void evaluation_json(const evaluation *e, json_out *out){(void)e;(void)out;}
const figure *evaluation_figure(const evaluation *e, const char *metric, const char *name){(void)e;(void)metric;(void)name;return NULL;}
const char *figure_text(const figure *f, char *text, size_t size){(void)f;(void)size;return text;}
#endif
#if !__has_include("core/sequences.c")
qc_status sequences_cut(const tokenizer *t, qc_job *job, const token_list *text, size_t context, size_t stride, sequences *out){(void)t;(void)text;(void)context;(void)stride;(void)out;GONE;}
void sequences_free(sequences *s){(void)s;}
qc_status tokenizer_read(const tokenizer *t, qc_job *job, const char *const *paths, size_t n_paths, size_t most, token_list *out){(void)t;(void)paths;(void)n_paths;(void)most;(void)out;GONE;}
void token_list_free(token_list *list){(void)list;}
#endif
#if !__has_include("core/tokens.c")
qc_status tokenizer_open(qc_job *job, registry *r, const model *m, tokenizer **out){(void)r;(void)m;(void)out;GONE;}
void tokenizer_free(tokenizer *t){(void)t;}
#endif
#if !__has_include("core/cmd_tokenize.c")
int cmd_tokenize(int argc, char **argv){(void)argc;(void)argv;return 1;}
#endif
#if !__has_include("core/cmd_compare.c")
int cmd_compare(int argc, char **argv){(void)argc;(void)argv;return 1;}
#endif
#if !__has_include("core/cmd_inspect.c")
int cmd_inspect(int argc, char **argv){(void)argc;(void)argv;return 1;}
#endif
