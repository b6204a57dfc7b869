#include "core/cpu.h"
#include "core/names.h"
#include <string.h>

/* Levels of all families, lowest first within one; a level contains what it implies. x86: those of the x86-64 psABI. */
static const struct level {
    const char *name;
    unsigned bit, implies;
} levels[] = {
    {"x86-v2", 1, 0}, {"x86-v3", 2, 1}, {"x86-v4", 4, 3}, {"neon", 8, 0}, {"dotprod", 16, 8}, {"sve2", 32, 24},
};

enum { N_LEVELS = sizeof levels / sizeof levels[0] };

#if defined(__x86_64__)
#include <cpuid.h>

typedef struct cpuid_regs {
    unsigned a, b, c, d;
} cpuid_regs;

static cpuid_regs cpuid(unsigned leaf)
{
    cpuid_regs r = {0, 0, 0, 0};
    __get_cpuid_count(leaf, 0, &r.a, &r.b, &r.c, &r.d); /* zeros where the CPU has no such leaf */
    return r;
}

/* Register state that the system saves on a context switch. */
static unsigned saved_state(void)
{
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static int all(unsigned bits, unsigned want)
{
    return (bits & want) == want;
}

static unsigned detect(void)
{
    enum {
        V2_C1 = 1 << 0 | 1 << 9 | 1 << 13 | 1 << 19 | 1 << 20 | 1 << 23, /* SSE3 SSSE3 CX16 SSE4.1 SSE4.2 POPCNT */
        V2_EXT = 1 << 0, /* LAHF */
        V3_C1 = 1 << 12 | 1 << 22 | 1 << 27 | 1 << 28 | 1 << 29, /* FMA MOVBE OSXSAVE AVX F16C */
        V3_B7 = 1 << 3 | 1 << 5 | 1 << 8, /* BMI1 AVX2 BMI2 */
        V3_EXT = 1 << 5, /* LZCNT */
        V3_STATE = 0x06, /* xmm, ymm */
        V4_STATE = 0xe6 /* and mask, upper zmm, zmm16-31 */
    };
    const unsigned v4_b7 = 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31; /* AVX512 F DQ CD BW VL */
    cpuid_regs one = cpuid(1), seven = cpuid(7), extended = cpuid(0x80000001u);
    if (!all(one.c, V2_C1) || !all(extended.c, V2_EXT))
        return 0;
    if (!all(one.c, V3_C1) || !all(seven.b, V3_B7) || !all(extended.c, V3_EXT) || !all(saved_state(), V3_STATE))
        return 1;
    return all(seven.b, v4_b7) && all(saved_state(), V4_STATE) ? 7 : 3;
}

#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>

static unsigned detect(void)
{
    unsigned long caps = getauxval(AT_HWCAP), caps2 = getauxval(AT_HWCAP2);
    int dotprod = (caps >> 20 & 1) != 0, sve2 = (caps2 >> 1 & 1) != 0; /* HWCAP_ASIMDDP, HWCAP2_SVE2 */
    return 8u | (dotprod ? 16u : 0u) | (dotprod && sve2 ? 32u : 0u);
}

#elif defined(__aarch64__)

static unsigned detect(void)
{
    return 24; /* every 64-bit Apple processor in use has the dot product */
}

#else

static unsigned detect(void)
{
    return 0;
}

#endif

cpu cpu_detect(void)
{
    return (cpu){detect()};
}

static const struct level *find_level(const char *name)
{
    for (size_t i = 0; i < N_LEVELS; i++)
        if (!strcmp(levels[i].name, name))
            return &levels[i];
    return NULL;
}

qc_status cpu_limit(qc_job *job, cpu *c, const char *mask)
{
    char name[NAME_BYTES];
    unsigned kept = 0;
    while ((mask = list_next(mask, name))) {
        const struct level *l = find_level(name);
        if (l)
            kept |= l->bit | l->implies;
        else if (strcmp(name, "generic") != 0)
            return qc_fail(job, QC_E_INVALID,
                           "no CPU level '%.60s' (generic, x86-v2, x86-v3, x86-v4, neon, dotprod, sve2)", name);
    }
    c->features &= kept;
    return QC_OK;
}

int cpu_has(cpu c, const char *list, char missing[32])
{
    char name[NAME_BYTES];
    while ((list = list_next(list, name))) {
        const struct level *l = find_level(name);
        if (l ? (c.features & l->bit) != 0 : !strcmp(name, "generic"))
            continue;
        snprintf(missing, 32, "%.31s", name);
        return 0;
    }
    return 1;
}

int cpu_rank(cpu c, const char *name)
{
    const struct level *l = find_level(name);
    return l && (c.features & l->bit) ? (int)(l - levels) : -1;
}

const char *cpu_level(cpu c)
{
    const char *best = "generic";
    for (size_t i = 0; i < N_LEVELS; i++)
        if (c.features & levels[i].bit)
            best = levels[i].name;
    return best;
}
