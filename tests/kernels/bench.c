/* CPU time of a typical call, the least of several measurements, beside that of the reference. */
#include "bench.h"
#include "call.h"
#include <time.h>

enum { MEASUREMENTS = 7 };
static const double least_seconds = 0.003; /* of a measurement */

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds of `n` calls. What an update changes stays changed: times of such kernels hardly depend on values. */
static double time_calls(const kernel *k, any_fn fn, const void *side, call *c, size_t n)
{
    const double begin = cpu_seconds();
    for (size_t i = 0; i < n; i++)
        k->member->signature->run(fn, side, c);
    return cpu_seconds() - begin;
}

/* Of one call. */
static double seconds(const kernel *k, any_fn fn, const void *side, uint32_t seed)
{
    call c = {0};
    size_t n = 1;
    double best = 0.0;
    case_room_clear();
    if (!fn || !k->member->signature->make(k, BENCH_CASE, &seed, &c))
        return 0.0;
    call_place(&c);
    while (time_calls(k, fn, side, &c, n) < least_seconds && n < (size_t)1 << 24)
        n *= 2;
    for (int i = 0; i < MEASUREMENTS; i++) {
        call_place(&c);
        const double s = time_calls(k, fn, side, &c, n) / (double)n;
        best = i == 0 || s < best ? s : best;
    }
    return best;
}

/* What the call reads and writes, once each. */
static size_t bytes_of(const kernel *k, uint32_t seed, size_t *elements)
{
    call c = {0};
    size_t bytes = 0;
    case_room_clear();
    *elements = 0;
    if (!k->member->signature->make(k, BENCH_CASE, &seed, &c))
        return 0;
    for (size_t i = 0; i < c.n_buffers; i++)
        bytes += c.buffers[i].from || c.buffers[i].use == BUFFER_WRITE ? c.buffers[i].bytes : 0;
    *elements = c.elements;
    return bytes;
}

int bench_all(const kernel_list *list, uint32_t seed, const char *csv)
{
    FILE *file = csv ? fopen(csv, "w") : NULL;
    double reference = 0.0;
    if (csv && !file) {
        perror(csv);
        return 2;
    }
    printf("%-36s %-10s %12s %10s %8s %10s\n", "kernel", "level", "ns/element", "GB/s", "times", "elements");
    if (file)
        fprintf(file, "kernel,level,ns_per_element,gb_per_s,times_reference,elements\n");
    for (size_t i = 0; i < list->n; i++) {
        const kernel *k = &list->items[i];
        size_t elements;
        const size_t bytes = bytes_of(k, seed, &elements);
        if (i == 0 || strcmp(k->name, list->items[i - 1].name) != 0)
            reference = seconds(k, k->reference, k->reference_side, seed);
        const double own = k->fn == k->reference ? reference : seconds(k, k->fn, k->side, seed);
        if (own <= 0.0 || elements == 0)
            continue;
        const double ns = own * 1e9 / (double)elements, rate = (double)bytes / own * 1e-9, times = reference / own;
        printf("%-36s %-10s %12.4f %10.2f %8.2f %10zu\n", k->name, k->level, ns, rate, times, elements);
        fflush(stdout);
        if (file)
            fprintf(file, "%s,%s,%.5f,%.3f,%.3f,%zu\n", k->name, k->level, ns, rate, times, elements);
    }
    return file && fclose(file) != 0 ? 2 : 0;
}
