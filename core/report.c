#include "core/report.h"
#include "core/jsonout.h"
#include "core/plan_print.h"
#include "core/report_linears.h"
#include "core/units.h"
#include <stdlib.h>

enum { MAX_ROLES = 128, MAX_ENCODINGS = 8, WORST = 5 };

/* Items of one role, added up. */
typedef struct role_sum {
    const char *role, *encodings[MAX_ENCODINGS];
    size_t n_encodings, n_tensors;
    uint64_t bytes;
    double weights, energy, error;
} role_sum;

typedef struct role_sums {
    role_sum roles[MAX_ROLES], all;
    size_t n;
} role_sums;

static void add_encoding(role_sum *sum, const char *encoding)
{
    for (size_t i = 0; i < sum->n_encodings; i++)
        if (!strcmp(sum->encodings[i], encoding))
            return;
    if (sum->n_encodings < MAX_ENCODINGS)
        sum->encodings[sum->n_encodings++] = encoding;
}

static void add_item(role_sum *sum, const plan_item *item, const item_result *result)
{
    add_encoding(sum, item->encoding);
    sum->n_tensors++;
    sum->bytes += item->bytes;
    sum->weights += plan_weights(item);
    sum->energy += result->energy;
    sum->error += result->error;
}

/* The sum of a role, in order of appearance; roles past MAX_ROLES go to the last one. */
static role_sum *find_role(role_sums *sums, const char *role)
{
    for (size_t i = 0; i < sums->n; i++)
        if (!strcmp(sums->roles[i].role, role))
            return &sums->roles[i];
    if (sums->n == MAX_ROLES)
        return &sums->roles[MAX_ROLES - 1];
    sums->roles[sums->n].role = role;
    return &sums->roles[sums->n++];
}

static void add_up(const report *r, role_sums *sums)
{
    memset(sums, 0, sizeof *sums);
    sums->all.role = "all";
    for (size_t i = 0; i < r->plan->n_items; i++) {
        const plan_item *item = &r->plan->items[i];
        const char *role = item->tensor->role ? item->tensor->role : "other";
        add_item(find_role(sums, role), item, &r->results[i]);
        add_item(&sums->all, item, &r->results[i]);
    }
}

static double megabytes_a_second(const report *r)
{
    return r->seconds > 0 ? (double)r->plan->stored / r->seconds * 1e-6 : 0;
}

/* ---- for people ---- */

static void print_role(FILE *file, const role_sum *sum, int name_encodings)
{
    char encodings[128] = "";
    size_t used = 0;
    for (size_t i = 0; name_encodings && i < sum->n_encodings && used < sizeof encodings; i++)
        used += (size_t)snprintf(encodings + used, sizeof encodings - used, "%s%s", i ? ", " : "", sum->encodings[i]);
    fprintf(file, "  %-20s %7zu  %-24s %8.3f", sum->role, sum->n_tensors, encodings,
            ratio(8.0 * (double)sum->bytes, sum->weights));
    if (sum->energy > 0)
        fprintf(file, "  %13.3e\n", sum->error / sum->energy);
    else
        fprintf(file, "  %13s\n", "-");
}

/* The items that lost most of themselves, worst first; n: at most WORST. */
static size_t find_worst(const report *r, size_t worst[WORST])
{
    size_t n = 0;
    for (size_t i = 0; i < r->plan->n_items; i++) {
        const item_result *result = &r->results[i];
        size_t at = n;
        if (!(result->error > 0))
            continue;
        while (at > 0 && ratio(r->results[worst[at - 1]].error, r->results[worst[at - 1]].energy) <
                             ratio(result->error, result->energy))
            at--;
        if (at == WORST)
            continue;
        n += n < WORST;
        for (size_t k = n - 1; k > at; k--)
            worst[k] = worst[k - 1];
        worst[at] = i;
    }
    return n;
}

static void print_worst(const report *r, FILE *file)
{
    size_t worst[WORST], n = find_worst(r, worst);
    if (n > 0)
        fprintf(file, "\n  %-40s %-14s  %13s\n", "most damaged", "encoding", "squared error");
    for (size_t i = 0; i < n; i++) {
        const item_result *result = &r->results[worst[i]];
        fprintf(file, "  %-40s %-14s  %13.3e\n", r->plan->items[worst[i]].tensor->name,
                r->plan->items[worst[i]].encoding, ratio(result->error, result->energy));
    }
}

void report_print(const report *r, FILE *file)
{
    role_sums sums;
    char before[BYTES_TEXT], after[BYTES_TEXT];
    add_up(r, &sums);
    fprintf(file, "%s -> %s\n", r->plan->model->path, r->plan->recipe->output.path);
    fprintf(file, "  weights %s -> %s (%.1f %%), %.3f -> %.3f bits each\n", bytes_text(r->plan->stored, before),
            bytes_text(r->plan->bytes, after), 100 * ratio((double)r->plan->bytes, (double)r->plan->stored),
            r->plan->bits_stored, r->plan->bits);
    plan_print_methods(r->plan, "  methods ", file);
    fprintf(file, "  %.2f s, %.1f MB/s, %u thread%s\n\n", r->seconds, megabytes_a_second(r), r->threads,
            r->threads == 1 ? "" : "s");
    fprintf(file, "  %-20s %7s  %-24s %8s  %13s\n", "role", "tensors", "encodings", "bits", "squared error");
    for (size_t i = 0; i < sums.n; i++)
        print_role(file, &sums.roles[i], 1);
    print_role(file, &sums.all, 0);
    print_worst(r, file);
    fprintf(file, "\n  squared error: of the weights as written, relative to their sum of squares%s\n",
            r->plan->recipe->calibration.imatrix || r->plan->recipe->calibration.text.n
                ? ";\n  every weight counts alike, whatever its importance"
                : "");
    linears_print(r->linears, r->n_linears, file);
    plan_print_loaders(r->plan, "  ", file);
    if (r->judgement)
        judgement_print(r->judgement, file);
}

/* ---- for programs ---- */

static void write_role(json_out *j, const role_sum *sum)
{
    put_json_object(j, NULL);
    put_json_text(j, "role", sum->role);
    put_json_count(j, "tensors", sum->n_tensors);
    put_json_list(j, "encodings");
    for (size_t i = 0; i < sum->n_encodings; i++)
        put_json_text(j, NULL, sum->encodings[i]);
    put_json_end_list(j);
    put_json_count(j, "bytes", sum->bytes);
    put_json_number(j, "bits_per_weight", ratio(8.0 * (double)sum->bytes, sum->weights));
    put_json_number(j, "relative_squared_error", ratio(sum->error, sum->energy));
    put_json_end_object(j);
}

static void write_tensor(json_out *j, const plan_item *item, const item_result *result)
{
    put_json_object(j, NULL);
    put_json_text(j, "name", item->tensor->name);
    put_json_text(j, "from", item->tensor->encoding);
    put_json_text(j, "to", item->encoding);
    put_json_count(j, "bytes_before", item->stored);
    put_json_count(j, "bytes_after", item->bytes);
    put_json_number(j, "relative_squared_error", ratio(result->error, result->energy));
    put_json_end_object(j);
}

void report_json(const report *r, FILE *file)
{
    json_out j = {.file = file};
    role_sums sums;
    add_up(r, &sums);
    put_json_object(&j, NULL);
    put_json_text(&j, "model", r->plan->model->path);
    put_json_text(&j, "output", r->plan->recipe->output.path);
    put_json_count(&j, "output_bytes", r->output_bytes);
    put_json_count(&j, "bytes_before", r->plan->stored);
    put_json_count(&j, "bytes_after", r->plan->bytes);
    put_json_number(&j, "bits_per_weight_before", r->plan->bits_stored);
    put_json_number(&j, "bits_per_weight_after", r->plan->bits);
    put_json_number(&j, "relative_squared_error", ratio(sums.all.error, sums.all.energy));
    put_json_number(&j, "seconds", r->seconds);
    put_json_number(&j, "megabytes_per_second", megabytes_a_second(r));
    put_json_count(&j, "threads", r->threads);
    plan_json_how(r->plan, &j);
    put_json_list(&j, "roles");
    for (size_t i = 0; i < sums.n; i++)
        write_role(&j, &sums.roles[i]);
    put_json_end_list(&j);
    put_json_list(&j, "tensors");
    for (size_t i = 0; i < r->plan->n_items; i++)
        write_tensor(&j, &r->plan->items[i], &r->results[i]);
    put_json_end_list(&j);
    linears_json(r->linears, r->n_linears, &j);
    if (r->judgement)
        judgement_json(r->judgement, &j);
    put_json_end_object(&j);
}
