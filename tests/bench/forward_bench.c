/* Runs a model over made-up tokens: tokens a second of blocks and head, resident memory, a checksum of the logits.
 *
 *     forward_bench MODEL [TOKENS [CONTEXT [MEMORY_MIB [THREADS [CPU]]]]]
 */
#include "core/forward.h"
#include "core/host.h"
#include "opened_model.h"
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

typedef struct bench {
    const char *path, *cpu;
    size_t n_tokens, context, memory;
    unsigned threads;
} bench;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static sequences make_sequences(const bench *b, size_t vocabulary)
{
    size_t n = b->n_tokens / b->context;
    sequences s = {calloc(n * b->context + 1, sizeof *s.tokens), calloc(n + 1, sizeof *s.starts), n};
    uint32_t state = 1;
    if (!s.tokens || !s.starts)
        abort();
    for (size_t i = 0; i < n * b->context; i++) {
        state = state * 1664525u + 1013904223u;
        s.tokens[i] = (uint32_t)((state >> 8) % vocabulary);
    }
    for (size_t i = 0; i <= n; i++)
        s.starts[i] = i * b->context;
    return s;
}

static uint64_t add_checksum(uint64_t sum, const float *x, size_t n)
{
    const unsigned char *bytes = (const unsigned char *)x;
    for (size_t i = 0; i < n * sizeof *x; i++)
        sum = (sum ^ bytes[i]) * 0x100000001b3u;
    return sum;
}

/* The second half of every window, as perplexity asks for it. */
static qc_status score(forward *f, qc_job *job, const hidden_states *h, const sequences *s, size_t context,
                       uint64_t *checksum)
{
    size_t half = context / 2, n = context - half;
    float *logits = malloc(n * forward_vocabulary(f) * sizeof *logits);
    size_t *rows = malloc(n * sizeof *rows);
    qc_status status = logits && rows ? QC_OK : qc_fail(job, QC_E_NOMEM, "out of memory for logits");
    *checksum = 0xcbf29ce484222325u;
    for (size_t i = 0; i < s->n && status == QC_OK; i++) {
        for (size_t k = 0; k < n; k++)
            rows[k] = s->starts[i] + half + k;
        status = forward_logits(f, job, h, rows, n, logits);
        if (status == QC_OK)
            *checksum = add_checksum(*checksum, logits, 64);
    }
    free(logits);
    free(rows);
    return status;
}

static qc_status run(const bench *b, qc_job *job, const opened_model *o)
{
    forward *f = NULL;
    hidden_states *hidden = NULL;
    struct rusage usage;
    uint64_t checksum = 0;
    qc_status status = forward_open(job, o->registry, o->model, (uint64_t)b->memory << 20, NULL, &f);
    if (status != QC_OK)
        return status;
    sequences s = make_sequences(b, forward_vocabulary(f));
    double begin = now();
    status = forward_run(f, job, &s, NULL, NULL, &hidden);
    double middle = now();
    if (status == QC_OK)
        status = score(f, job, hidden, &s, b->context, &checksum);
    double end = now();
    getrusage(RUSAGE_SELF, &usage);
    double n = (double)(s.n * b->context);
    if (status == QC_OK)
        printf("%.1f tokens/s (blocks %.1f, head %.1f), %ld MiB resident, forward_memory %llu MiB, checksum %016llx\n",
               n / (end - begin), n / (middle - begin), n / (end - middle), usage.ru_maxrss >> 10,
               (unsigned long long)(forward_memory(f) >> 20), (unsigned long long)checksum);
    hidden_free(hidden);
    free(s.tokens);
    free(s.starts);
    forward_free(f);
    return status;
}

static size_t argument(int argc, char **argv, int i, size_t otherwise)
{
    size_t n = i < argc ? (size_t)strtoull(argv[i], NULL, 10) : 0;
    return n ? n : otherwise;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fputs("usage: forward_bench MODEL [TOKENS [CONTEXT [MEMORY_MIB [THREADS [CPU]]]]]\n", stderr);
        return 2;
    }
    const bench b = {.path = argv[1],
                     .n_tokens = argument(argc, argv, 2, 4096),
                     .context = argument(argc, argv, 3, 512),
                     .memory = argument(argc, argv, 4, 1024),
                     .threads = (unsigned)argument(argc, argv, 5, 2),
                     .cpu = argc > 6 ? argv[6] : NULL};
    qc_host *host = host_new();
    pool *workers = host ? pool_new(host, b.threads) : NULL;
    if (!workers)
        return 1;
    opened_model o;
    qc_job *job = pool_job(workers);
    qc_status status = opened_model_begin(&o, job, b.path, b.cpu);
    if (status == QC_OK)
        status = run(&b, job, &o);
    if (status != QC_OK)
        fprintf(stderr, "forward_bench: %s\n", job_message(job));
    opened_model_end(&o);
    pool_free(workers);
    host_free(host);
    return status == QC_OK ? 0 : 1;
}
