#include "test_rows.h"

const char *rows_name(int kind)
{
    static const char *const names[ROWS_KINDS] = {"gauss", "heavy", "uniform", "positive", "zero", "constant",
                                                  "one",   "signs", "tiny",    "denormal", "huge", "mixed"};
    return names[kind];
}

uint32_t rows_random(uint32_t *state) /* xorshift32 */
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static float uniform(uint32_t *state) /* -1 … 1 */
{
    return (float)(rows_random(state) >> 8) * 0x1p-23f - 1.0f;
}

static float bell(uint32_t *state)
{
    return (uniform(state) + uniform(state) + uniform(state) + uniform(state)) * 0.87f;
}

static float weight(int kind, size_t row, size_t col, uint32_t *state)
{
    static const float sizes[8] = {1e-30f, 1e-9f, 1e-4f, 0.1f, 1.0f, 1e4f, 1e9f, 1e30f};
    float g = bell(state), u = uniform(state);
    switch (kind) {
    case ROWS_GAUSS:
        return 0.05f * g;
    case ROWS_HEAVY:
        return 0.05f * g * (1.0f + 3.0f * u * u * u * u) * (rows_random(state) % 200 ? 1.0f : 20.0f);
    case ROWS_UNIFORM:
        return 0.1f * u;
    case ROWS_POSITIVE:
        return 3.0f + 0.01f * g;
    case ROWS_CONSTANT:
        return row % 2 ? 0.1f * (float)(row + 1) : -0.7f;
    case ROWS_ONE:
        return col % 32 == row % 32 ? u : 0.0f;
    case ROWS_SIGNS:
        return u < 0.0f ? -0.3f : 0.3f;
    case ROWS_TINY:
        return g * 1e-6f;
    case ROWS_DENORMAL:
        return u * 1e-39f;
    case ROWS_HUGE:
        return g * 1e38f;
    case ROWS_MIXED:
        return g * sizes[row % 8];
    default:
        return 0.0f;
    }
}

void rows_fill(float *rows, size_t n_rows, size_t cols, int kind, uint32_t seed)
{
    uint32_t state = seed * 2654435761u + (uint32_t)kind * 97u + 1u;
    for (size_t row = 0; row < n_rows; row++)
        for (size_t col = 0; col < cols; col++)
            rows[row * cols + col] = weight(kind, row, col, &state);
}

void rows_importance(float *importance, size_t cols, uint32_t seed)
{
    uint32_t state = seed + 12345u;
    for (size_t col = 0; col < cols; col++) {
        float u = uniform(&state);
        importance[col] = rows_random(&state) % 40 == 0 ? 300.0f * u * u : rows_random(&state) % 10 == 0 ? 0.0f : u * u;
    }
}
