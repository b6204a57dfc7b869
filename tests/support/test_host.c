#include "test_host.h"
#include <stdlib.h>

/* `host` is the first member, `job` is found by its offset. */
static test_host *of_host(const qc_host *host)
{
    return (test_host *)(uintptr_t)host;
}

static test_host *of_job(qc_job *job)
{
    return (test_host *)(void *)((char *)job - offsetof(test_host, job));
}

static int refused(test_host *th)
{
    return ++th->n_allocs == th->fail_at;
}

static void *aligned(size_t bytes)
{
    return aligned_alloc(64, (bytes / 64 + 1) * 64);
}

static void quiet(const qc_host *host, int level, const char *message)
{
    (void)host, (void)level, (void)message;
}

static void *host_alloc(const qc_host *host, size_t bytes)
{
    void *p = refused(of_host(host)) ? NULL : aligned(bytes);
    return p ? memset(p, 0, bytes) : NULL;
}

static void host_free(const qc_host *host, void *p)
{
    (void)host;
    free(p);
}

static const void *host_find(const qc_host *host, const char *id)
{
    const test_table *t = of_host(host)->tables;
    for (; t && t->id; t++)
        if (!strcmp(t->id, id))
            return t->table;
    return NULL;
}

static const test_setting *setting(const qc_settings *settings, const char *name)
{
    const test_setting *s = (const test_setting *)(const void *)settings;
    for (; s && s->name; s++)
        if (!strcmp(s->name, name))
            return s;
    return NULL;
}

static double host_number(const qc_settings *settings, const char *name)
{
    const test_setting *s = setting(settings, name);
    return s ? s->number : 0.0;
}

static const char *host_text(const qc_settings *settings, const char *name)
{
    const test_setting *s = setting(settings, name);
    return s && s->text ? s->text : "";
}

static void *job_scratch(qc_job *job, size_t bytes)
{
    test_host *th = of_job(job);
    void **blocks = refused(th) ? NULL : realloc(th->blocks, (th->n_blocks + 1) * sizeof *blocks);
    if (!blocks)
        return NULL;
    th->blocks = blocks;
    void *p = aligned(bytes);
    if (p)
        th->blocks[th->n_blocks++] = memset(p, 0xA5, bytes); /* not zeroed, and it shows */
    return p;
}

static qc_status job_parallel_for(qc_job *job, size_t n, size_t chunk, qc_body body, void *arg)
{
    for (size_t begin = 0; begin < n; begin += chunk) {
        size_t end = n - begin < chunk ? n : begin + chunk;
        qc_status status = body(arg, job, begin, end);
        if (status != QC_OK)
            return status;
    }
    return QC_OK;
}

static qc_status job_fail(qc_job *job, qc_status code, const char *message)
{
    test_host *th = of_job(job);
    if (th->status == QC_OK) {
        th->status = code;
        snprintf(th->message, sizeof th->message, "%s", message);
    }
    return code;
}

static qc_status job_progress(qc_job *job, uint64_t done, uint64_t total)
{
    (void)job, (void)done, (void)total;
    return QC_OK;
}

static void job_forget(qc_job *job)
{
    test_host *th = of_job(job);
    th->status = QC_OK;
    th->message[0] = '\0';
}

qc_job *test_host_begin(test_host *th)
{
    memset(th, 0, sizeof *th);
    th->host = (qc_host){.size = sizeof(qc_host),
                         .abi_major = QC_ABI_MAJOR,
                         .abi_minor = QC_ABI_MINOR,
                         .log = quiet,
                         .alloc = host_alloc,
                         .free = host_free,
                         .find = host_find,
                         .number = host_number,
                         .text = host_text};
    th->job = (qc_job){.size = sizeof(qc_job),
                       .host = &th->host,
                       .scratch = job_scratch,
                       .parallel_for = job_parallel_for,
                       .fail = job_fail,
                       .progress = job_progress,
                       .forget = job_forget};
    return &th->job;
}

void test_host_reset(test_host *th)
{
    for (size_t i = 0; i < th->n_blocks; i++)
        free(th->blocks[i]);
    free(th->blocks);
    th->blocks = NULL;
    th->n_blocks = th->n_allocs = 0;
    th->status = QC_OK;
    th->message[0] = '\0';
}

void test_host_end(test_host *th)
{
    test_host_reset(th);
}

static const qc_ops_encoding *ops_for(const qc_encoding_desc *desc, const char *cpu)
{
    if (!strcmp(cpu, "reference"))
        return desc->reference;
    for (const qc_variant *v = desc->variants; v && v->cpu; v++)
        if (!strcmp(v->cpu, cpu))
            return v->ops;
    return NULL;
}

int test_coder(qc_coder *coder, qc_ops_encoding *ops, const qc_encoding_desc *desc, const char *cpu, size_t cols)
{
    const qc_ops_encoding *theirs = ops_for(desc, cpu);
    if (!theirs)
        return 0;
    memset(ops, 0, sizeof *ops);
    memcpy(ops, theirs, theirs->size < sizeof *ops ? theirs->size : sizeof *ops);
    uint32_t block_cols = desc->block_cols ? desc->block_cols : (uint32_t)cols;
    size_t codes = desc->block_cols ? 0 : (cols * desc->code_bits + 7) / 8;
    *coder = (qc_coder){.size = sizeof *coder,
                        .block_cols = block_cols,
                        .cols = cols,
                        .row_bytes = cols / block_cols * desc->block_bytes + codes,
                        .desc = desc,
                        .ops = ops};
    return 1;
}

const qc_encoding_desc *test_find_encoding(const qc_plugin *plugin, const char *id)
{
    for (uint32_t i = 0; i < plugin->n_descs; i++) {
        const qc_desc *d = plugin->descs[i];
        if (!strcmp(d->kind, QC_KIND_ENCODING) && !strcmp(d->id, id))
            return (const qc_encoding_desc *)(const void *)d;
    }
    return NULL;
}

int test_cpu_level(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return 4;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("fma"))
        return 3;
#endif
    return 0;
}

int test_cpu_runs(const char *cpu)
{
#if defined(__aarch64__)
    if (!strcmp(cpu, "neon"))
        return 1;
#endif
    return !strcmp(cpu, "reference") || (!strcmp(cpu, "x86-v3") && test_cpu_level() >= 3) ||
           (!strcmp(cpu, "x86-v4") && test_cpu_level() >= 4);
}
