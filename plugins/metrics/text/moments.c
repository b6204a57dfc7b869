#include "text.h"
#include <math.h>

/* The deviations' squares are summed, not the squares: the same number, without the cancellation. */
static mean_error mean_of_two(const double *x, const double *y, size_t step, size_t n, double a, double b)
{
    double sum = 0.0, squares = 0.0;
    if (n == 0)
        return (mean_error){0.0, 0.0};
    for (size_t i = 0; i < n; i++)
        sum += a * x[i * step] - b * y[i * step];
    double mean = sum / (double)n;
    for (size_t i = 0; i < n; i++) {
        double off = a * x[i * step] - b * y[i * step] - mean;
        squares += off * off;
    }
    return (mean_error){mean, n > 1 ? sqrt(squares / (double)n / (double)(n - 1)) : -1.0};
}

mean_error mean_of(const double *values, size_t step, size_t n)
{
    return mean_of_two(values, values, step, n, 1.0, 0.0);
}

mean_error mean_of_difference(const double *values, size_t step, size_t n, double a, double b)
{
    return mean_of_two(values, values + 1, step, n, a, b);
}
