/* CPU levels: masks take away, never add; lists need all of their items. */
#include "core/cpu.h"
#include "scratch_folder.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static cpu limited(qc_job *job, const char *mask)
{
    cpu c = cpu_detect();
    assert_int_equal(cpu_limit(job, &c, mask), QC_OK);
    return c;
}

static void masks_limit(void **state)
{
    scratch_folder *s = *state;
    char missing[32] = "";
    assert_string_equal(cpu_level(limited(s->job, "generic")), "generic");
    assert_string_equal(cpu_level(limited(s->job, "")), "generic");
    assert_false(cpu_has(limited(s->job, "generic"), "x86-v3", missing));
    assert_string_equal(missing, "x86-v3");
    assert_true(cpu_has(limited(s->job, "generic"), "generic", missing));
    assert_true(cpu_has(limited(s->job, "generic"), "", missing));
    assert_int_equal(cpu_rank(limited(s->job, "generic"), "x86-v3"), -1);
    assert_int_equal(cpu_rank(cpu_detect(), "x86-v9"), -1);
    for (int i = 0; i < 3; i++) {
        static const char *const levels[] = {"x86-v4", "x86-v3", "x86-v2"};
        cpu c = limited(s->job, levels[i]);
        assert_true((c.features & ~cpu_detect().features) == 0);
        if (cpu_has(cpu_detect(), levels[i], missing))
            assert_string_equal(cpu_level(c), levels[i]);
    }
}

static void lists_need_all(void **state)
{
    scratch_folder *s = *state;
    char missing[32] = "";
    cpu c = limited(s->job, "x86-v2, x86-v3");
    if (!cpu_has(c, "x86-v3", missing))
        skip();
    assert_true(cpu_has(c, "x86-v2,x86-v3", missing));
    assert_false(cpu_has(c, "x86-v2, neon", missing));
    assert_string_equal(missing, "neon");
    assert_false(cpu_has(c, "a-level-with-a-name-that-is-much-too-long-for-any-cpu", missing));
    assert_int_equal(strlen(missing), 31);
    assert_true(cpu_rank(c, "x86-v3") > cpu_rank(c, "x86-v2"));
}

static void unknown_levels_are_named(void **state)
{
    scratch_folder *s = *state;
    cpu c = cpu_detect();
    assert_int_equal(cpu_limit(s->job, &c, "x86-v3,avx1024"), QC_E_INVALID);
    assert_string_equal(job_message(s->job),
                        "no CPU level 'avx1024' (generic, x86-v2, x86-v3, x86-v4, neon, dotprod, sve2)");
}

/* The compiler's own opinion of this machine. */
static void detection_agrees_with_the_compiler(void **state)
{
    (void)state;
#if defined(__x86_64__)
    char missing[32];
    __builtin_cpu_init();
    int v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    int v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
             __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512cd");
    assert_int_equal(cpu_has(cpu_detect(), "x86-v3", missing), v3);
    assert_int_equal(cpu_has(cpu_detect(), "x86-v4", missing), v4);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(masks_limit, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(lists_need_all, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(unknown_levels_are_named, scratch_begin, scratch_end),
        cmocka_unit_test(detection_agrees_with_the_compiler),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
