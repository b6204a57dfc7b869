/* How figures are shown. */
#include "core/evaluate.h"
#include "core/figures.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void figures_show_what_is_known_of_them(void **state)
{
    static const struct {
        double value, error;
        uint32_t flags;
        const char *text;
    } cases[] = {
        {6.51355041, 0.0978852, 0, "6.5136 ± 0.0979"},
        {0.0106581522, 0.000214442, 0, "0.010658 ± 0.000214"},
        {12.3, 0.00671, 0, "12.3000 ± 0.0067"},
        {-0.0012, 0.017, 0, "-0.001 ± 0.017"},
        {4235.18, 31.4, 0, "4235.2 ± 31.4"},
        {0.982, 0.00312, QC_FIGURE_PERCENT, "98.20 % ± 0.31 %"},
        {0.833, 0.062, QC_FIGURE_PERCENT, "83.3 % ± 6.2 %"},
        {1.0, 0.0, QC_FIGURE_PERCENT, "100.00 % ± 0"},
        {2.2344962, -1.0, 0, "2.23450"},
        {0.0, -1.0, 0, "0.000000"},
        {0.00024285, -1.0, 0, "0.000242850"},
        {1.2094953e-9, -1.0, 0, "1.20950e-09"},
        {25245, -1.0, QC_FIGURE_COUNT, "25245"},
    };
    char text[96];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const figure f = {(char *)"m", (char *)"f", cases[i].value, cases[i].error, cases[i].flags};
        assert_string_equal(figure_text(&f, text, sizeof text), cases[i].text);
    }
}

/* exp of a mean loss of 1000, and what follows of it. */
static qc_status report_beyond_all(qc_job *job, const void *state, const qc_figures *out)
{
    (void)state;
    qc_status status = qc_put_figure(out, job, "value", (double)INFINITY, (double)INFINITY, 0);
    return status == QC_OK ? qc_put_figure(out, job, "difference", (double)INFINITY, (double)NAN, 0) : status;
}

static void an_error_that_is_no_number_is_none(void **state)
{
    const qc_metric_desc metric = {.report = report_beyond_all};
    evaluation e = {0};
    char text[96];
    (void)state;
    assert_int_equal(figures_collect(NULL, &metric, NULL, "perplexity", &e), QC_OK);
    assert_int_equal(e.n_figures, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_true(e.figures[i].error < 0);
        assert_string_equal(figure_text(&e.figures[i], text, sizeof text), "inf");
    }
    evaluation_free(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(figures_show_what_is_known_of_them),
                                       cmocka_unit_test(an_error_that_is_no_number_is_none)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
