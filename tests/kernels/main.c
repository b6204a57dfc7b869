/* check_kernels: see usage() below. */
#include "bench.h"
#include "call.h"
#include "inputs.h"
#include "list.h"
#include <fnmatch.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#ifndef QC_PLUGIN_DIR
#define QC_PLUGIN_DIR "lib/qcore/plugins"
#endif

static const char usage_text[] =
    "usage: check_kernels [options]\n"
    "\n"
    "Calls every kernel of every plugin, as built for every level of this CPU, and compares what it does with what\n"
    "defines it: the same bits from any input, nothing read or written but its buffers, inputs and rounding mode left\n"
    "as they were. A crash is reported like any other fault.\n"
    "\n"
    "  --list               print the kernels (GROUP.TABLE.MEMBER LEVEL), and what is not checked\n"
    "  --only PATTERN       only kernels whose name or 'name level' matches; * and ? as in a shell\n"
    "  --seed N             repeat a run: inputs follow from it (printed; default: 1)\n"
    "  --random             another seed each time\n"
    "  --effort N           0: a fifth of the inputs, 1: all, 2 and more: as many times\n"
    "                       (default: 1, or QCORE_CHECK_EFFORT)\n"
    "  --bench              measure instead: ns per element, GB/s, times as fast as the portable kernel\n"
    "  --csv FILE           with --bench: write the figures to FILE too\n"
    "  --verbose            print every kernel before it runs\n"
    "  --plugin-path DIR    look for plugins there first; may be given several times\n"
    "\n"
    "examples:\n"
    "  check_kernels --only 'kquants.q4_k.*'\n"
    "  check_kernels --only '*.decode x86-v4' --seed 7 --effort 20\n"
    "  check_kernels --bench --only 'ops.*' --csv ops.csv\n"
    "  check_kernels --plugin-path my-plugin/build/lib/qcore/plugins --only 'mine.*'\n";

enum { MOST_FOLDERS = 8 };

typedef struct options {
    const char *only, *csv, *folders[MOST_FOLDERS + 1];
    size_t n_folders;
    uint32_t seed;
    unsigned effort;
    int list, bench, verbose;
} options;

static int fail_usage(const char *why, const char *what)
{
    fprintf(stderr, "check_kernels: %s '%s' (see --help)\n", why, what);
    return 2;
}

static int take_number(const char *text, unsigned long most, unsigned long *n)
{
    char *end;
    *n = strtoul(text, &end, 10);
    return *text >= '0' && *text <= '9' && !*end && *n <= most;
}

/* An option with a value. 1: taken, 0: not one, -1: bad. */
static int take_value(options *o, const char *name, const char *value)
{
    unsigned long n = 0;
    if (!strcmp(name, "--only"))
        o->only = value;
    else if (!strcmp(name, "--csv"))
        o->csv = value;
    else if (!strcmp(name, "--plugin-path") && o->n_folders < MOST_FOLDERS)
        o->folders[o->n_folders++] = value;
    else if (!strcmp(name, "--seed") && take_number(value, UINT32_MAX, &n))
        o->seed = (uint32_t)n;
    else if (!strcmp(name, "--effort") && take_number(value, 1000, &n))
        o->effort = (unsigned)n;
    else
        return !strcmp(name, "--seed") || !strcmp(name, "--effort") || !strcmp(name, "--plugin-path") ? -1 : 0;
    return 1;
}

static int take_flag(options *o, const char *name)
{
    if (!strcmp(name, "--list"))
        o->list = 1;
    else if (!strcmp(name, "--bench"))
        o->bench = 1;
    else if (!strcmp(name, "--verbose"))
        o->verbose = 1;
    else if (!strcmp(name, "--random"))
        o->seed = (uint32_t)time(NULL) ^ (uint32_t)getpid() << 16;
    else
        return 0;
    return 1;
}

static int parse(options *o, int argc, char **argv)
{
    const char *effort = getenv("QCORE_CHECK_EFFORT"), *folder = getenv("QC_PLUGIN_DIR");
    unsigned long n;
    *o = (options){.seed = 1, .effort = 1};
    if (effort && take_number(effort, 1000, &n))
        o->effort = (unsigned)n;
    for (int i = 1; i < argc; i++) {
        if (take_flag(o, argv[i]))
            continue;
        const int taken = i + 1 < argc ? take_value(o, argv[i], argv[i + 1]) : 0;
        if (taken < 0)
            return fail_usage("bad value", argv[i + 1]);
        if (!taken)
            return fail_usage("no option, or one without its value:", argv[i]);
        i++;
    }
    o->folders[o->n_folders++] = folder ? folder : QC_PLUGIN_DIR;
    return 0;
}

static int wanted(const options *o, const kernel *k)
{
    char full[128];
    snprintf(full, sizeof full, "%s %s", k->name, k->level);
    return !o->only || !fnmatch(o->only, k->name, 0) || !fnmatch(o->only, full, 0);
}

static void keep_wanted(kernel_list *list, const options *o)
{
    size_t n = 0;
    for (size_t i = 0; i < list->n; i++)
        if (wanted(o, &list->items[i]))
            list->items[n++] = list->items[i];
    list->n = n;
}

/* Names and seed say which inputs a kernel gets, whatever else is checked. The same for all its levels. */
static uint32_t seed_of(const kernel *k, uint32_t seed)
{
    uint32_t hash = 2166136261u ^ seed; /* FNV-1a */
    for (const char *p = k->name; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 16777619u;
    return hash ? hash : 1;
}

/* Calls made, or, where one fails, 0 after a report. */
static size_t check_kernel(const kernel *k, const options *o)
{
    uint32_t random = seed_of(k, o->seed);
    size_t n = 0;
    for (;; n++) {
        call c = {0};
        char why[400];
        case_room_clear();
        if (!k->member->signature->make(k, n, &random, &c))
            return n;
        if (!check_call(k, &c, why, sizeof why))
            continue;
        printf("not ok - %s %s: %s\n#   input: %s; call %zu; repeat: --only '%s %s' --seed %lu --effort %u\n", k->name,
               k->level, why, c.input, n + 1, k->name, k->level, (unsigned long)o->seed, o->effort);
        return 0;
    }
}

/* Length of the table's part of a name. */
static int table_length(const kernel *k)
{
    return (int)(strrchr(k->name, '.') - k->name);
}

static int same_table(const kernel *a, const kernel *b)
{
    return table_length(a) == table_length(b) && !strncmp(a->name, b->name, (size_t)table_length(a));
}

/* A line for each table that is right, one for each kernel that is not. */
static int check_all(const kernel_list *list, const options *o)
{
    size_t n_failed = 0, n_calls = 0, in_table = 0, calls = 0, failed = 0;
    for (size_t i = 0; i < list->n; i++) {
        const kernel *k = &list->items[i];
        if (o->verbose)
            printf("# %s %s\n", k->name, k->level);
        fflush(stdout);
        const size_t n = check_kernel(k, o);
        in_table++;
        calls += n;
        failed += n == 0;
        if (i + 1 < list->n && same_table(k, &list->items[i + 1]))
            continue;
        if (failed == 0)
            printf("ok - %.*s: %zu kernels, %zu calls\n", table_length(k), k->name, in_table, calls);
        n_failed += failed;
        n_calls += calls;
        in_table = calls = failed = 0;
    }
    for (size_t i = 0; i < list->n_notes; i++)
        if (list->notes[i][0] == '!') {
            printf("not ok - %s\n", list->notes[i] + 2);
            n_failed++;
        }
    printf("# %zu kernels, %zu calls each compared three times, %zu failed; seed %lu\n", list->n, n_calls, n_failed,
           (unsigned long)o->seed);
    return n_failed > 0 || list->n == 0;
}

static void print_list(const kernel_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        printf("%s %s\n", list->items[i].name, list->items[i].level);
    for (size_t i = 0; i < list->n_notes; i++)
        printf("# %s\n", list->notes[i]);
}

int main(int argc, char **argv)
{
    options o;
    static kernel_list list;
    if (argc == 2 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
        fputs(usage_text, stdout);
        return 0;
    }
    if (parse(&o, argc, argv) != 0)
        return 2;
    if (!list_kernels(o.folders, o.n_folders, o.effort, &list))
        return 2;
    keep_wanted(&list, &o);
    if (o.list) {
        print_list(&list);
        return 0;
    }
    if (!buffers_begin() || !catch_signals()) {
        fprintf(stderr, "check_kernels: no memory with guard pages\n");
        return 2;
    }
    return o.bench ? bench_all(&list, o.seed, o.csv) : check_all(&list, &o);
}
