#include "core/statistics_impl.h"
#include "core/units.h"
#include <stdlib.h>

enum { N_UNEVEN = 5 };

/* A record as reports see it: how far its largest column stands out, and who reads it. */
typedef struct line {
    const char *name; /* of the first tensor that reads it */
    size_t n_readers, record;
    double uneven; /* largest mean square of a column over the mean of all; of the most uneven expert */
    uint64_t n_unseen, tokens; /* experts that no row reached; rows of the busiest one */
} line;

static double unevenness(const float *means, uint64_t cols)
{
    double sum = 0, most = 0;
    for (uint64_t i = 0; i < cols; i++) {
        sum += (double)means[i];
        most = (double)means[i] > most ? (double)means[i] : most;
    }
    return ratio(most * (double)cols, sum);
}

static void measure(const input_record *r, line *l)
{
    for (uint64_t i = 0; i < r->n_matrices; i++) {
        double uneven = unevenness(r->means + i * r->cols, r->cols);
        l->uneven = uneven > l->uneven ? uneven : l->uneven;
        l->tokens = r->inputs[i].n_tokens > l->tokens ? r->inputs[i].n_tokens : l->tokens;
        l->n_unseen += r->inputs[i].n_tokens == 0;
    }
}

/* One line a record, in the order of the pass; NULL: out of memory. */
static line *make_lines(const statistics *s)
{
    line *lines = calloc(s->n_records + 1, sizeof *lines);
    for (size_t i = 0; lines && i < s->n_records; i++) {
        lines[i].record = i;
        measure(&s->records[i], &lines[i]);
    }
    for (size_t i = 0; lines && i < s->n_names; i++) {
        line *l = &lines[s->names[i].record];
        l->name = l->n_readers++ ? l->name : s->names[i].tensor;
    }
    return lines;
}

static int by_unevenness(const void *a, const void *b)
{
    const line *x = a, *y = b;
    if (x->uneven != y->uneven)
        return x->uneven > y->uneven ? -1 : 1;
    return (x->record > y->record) - (x->record < y->record);
}

static void print_uneven(line *lines, size_t n, FILE *file)
{
    qsort(lines, n, sizeof *lines, by_unevenness);
    fprintf(file, "The most uneven inputs: the largest mean square of a column over the mean of all\n");
    for (size_t i = 0; i < n && i < N_UNEVEN; i++) {
        fprintf(file, "  %10.1f  %s", lines[i].uneven, lines[i].name);
        if (lines[i].n_readers > 1)
            fprintf(file, " and %zu more", lines[i].n_readers - 1);
        putc('\n', file);
    }
}

static uint64_t unseen(const line *lines, size_t n)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += lines[i].n_unseen;
    return sum;
}

void statistics_print(const statistics *s, FILE *file)
{
    char bytes[BYTES_TEXT];
    line *lines = make_lines(s);
    if (!lines)
        return;
    fprintf(file, "Recorded %zu inputs of %zu tensors", s->n_records, s->n_names);
    uint64_t tokens = s->chunks * s->chunk_tokens;
    if (tokens)
        fprintf(file, " over %llu tokens in %llu windows of %llu", (unsigned long long)tokens,
                (unsigned long long)s->chunks, (unsigned long long)s->chunk_tokens);
    fprintf(file, " (%s)\n", bytes_text(s->bytes, bytes));
    if (unseen(lines, s->n_records))
        fprintf(file, "No token reached %llu experts: their columns count evenly, more text may change that\n",
                (unsigned long long)unseen(lines, s->n_records));
    print_uneven(lines, s->n_records, file);
    free(lines);
}

static void put_words(const statistics *s, json_out *out)
{
    static const char *const words[] = {"mean_square", "gram", "absmax", "samples"}; /* in the order of QC_STAT_* */
    uint32_t known = statistics_known(s);
    put_json_list(out, "statistics");
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (known >> i & 1)
            put_json_text(out, NULL, words[i]);
    put_json_end_list(out);
}

void statistics_json(const statistics *s, json_out *out)
{
    line *lines = make_lines(s);
    if (!lines)
        return;
    put_json_count(out, "windows", s->chunks);
    put_json_count(out, "context", s->chunk_tokens);
    put_json_count(out, "tokens", s->chunks * s->chunk_tokens);
    put_json_count(out, "tensors", s->n_names);
    put_json_count(out, "bytes", s->bytes);
    put_words(s, out);
    put_json_list(out, "inputs");
    for (size_t i = 0; i < s->n_records; i++) {
        put_json_object(out, NULL);
        put_json_text(out, "tensor", lines[i].name);
        put_json_count(out, "tensors", lines[i].n_readers);
        put_json_count(out, "columns", s->records[i].cols);
        put_json_count(out, "matrices", s->records[i].n_matrices);
        put_json_count(out, "tokens", lines[i].tokens);
        put_json_count(out, "unseen_matrices", lines[i].n_unseen);
        put_json_number(out, "unevenness", lines[i].uneven);
        put_json_end_object(out);
    }
    put_json_end_list(out);
    free(lines);
}
