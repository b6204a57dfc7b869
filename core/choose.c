/* What rules mean: one encoding for each tensor. */
#include "core/job.h"
#include "core/log.h"
#include "core/rules.h"
#include <fnmatch.h>

/* What conditions ask of a model. */
typedef struct facts {
    uint64_t blocks, heads, key_heads, experts;
    int tied, importance;
    char architecture[64];
} facts;

static facts facts_of(const model *m, int importance)
{
    facts f = {.tied = 1, .importance = importance};
    f.blocks = model_count(m, "block_count", 0, 0);
    f.heads = model_count(m, "attention.head_count", 0, 1);
    f.key_heads = model_count(m, "attention.head_count_kv", 0, f.heads);
    f.experts = model_count(m, "expert_count", 0, 0);
    for (size_t i = 0; i < m->n_tensors; i++)
        f.tied &= strcmp(m->tensors[i].role, "output") != 0;
    const qc_meta *meta = model_meta(m, "general.architecture");
    if (meta && meta->type == QC_TEXT && !meta->is_array) {
        const qc_text *text = meta->data;
        snprintf(f.architecture, sizeof f.architecture, "%.*s",
                 (int)(text->length < sizeof f.architecture ? text->length : sizeof f.architecture), text->data);
    }
    return f;
}

static int is_one_of(const text_list *list, const char *word)
{
    for (size_t i = 0; i < list->n; i++)
        if (!strcmp(list->items[i], word))
            return 1;
    return list->n == 0;
}

static int fits_glob(const text_list *list, const char *name)
{
    for (size_t i = 0; i < list->n; i++)
        if (fnmatch(list->items[i], name, 0) == 0)
            return 1;
    return list->n == 0;
}

static int is_selected(const selector_list *list, uint64_t i, uint64_t n)
{
    for (size_t k = 0; k < list->n; k++)
        if (selector_hits(&list->items[k], i, n))
            return 1;
    return list->n == 0;
}

static int is_or_any(uint64_t wanted, uint64_t value)
{
    return wanted == RULE_ANY || wanted == value;
}

/* Conditions that are the same for all tensors. */
static int model_fits(const rule_when *w, const facts *f)
{
    uint64_t gqa = f->key_heads ? f->heads / f->key_heads : 1;
    return (w->importance < 0 || w->importance == f->importance) && (w->tied < 0 || w->tied == f->tied) &&
           is_or_any(w->experts, f->experts) && is_or_any(w->blocks, f->blocks) && w->min_experts <= f->experts &&
           w->min_gqa <= gqa && is_one_of(&w->architecture, f->architecture);
}

static uint32_t dims_of(const model_tensor *t)
{
    return t->dims[3] > 1 ? 4 : t->dims[2] > 1 ? 3 : t->dims[1] > 1 ? 2 : 1;
}

static int tensor_fits(const rule *r, const model_tensor *t, const char *now, uint64_t blocks)
{
    int in_layers = r->layers.n == 0 || (t->layer >= 0 && is_selected(&r->layers, (uint64_t)t->layer, blocks));
    return in_layers && fits_glob(&r->names, t->name) && is_or_any(r->when.dims, dims_of(t)) &&
           (r->when.encoding.n == 0 || (now && is_one_of(&r->when.encoding, now)));
}

/* Tensors of a rule's roles are counted whether or not its other keys fit: "the second attn_v of 32". */
static uint64_t count_of_roles(const model *m, const rule *r)
{
    uint64_t n = 0;
    for (size_t i = 0; i < m->n_tensors; i++)
        n += !m->tensors[i].keep && is_one_of(&r->roles, m->tensors[i].role);
    return n;
}

/* Place i among the tensors of a rule's roles, of n. */
static int is_counted(const rule *r, const model_tensor *t, const facts *f, uint64_t i, uint64_t n)
{
    uint64_t depth = f->experts > 1 && t->layer >= 0 ? (uint64_t)t->layer : i;
    return is_selected(&r->nth, i, n) && is_selected(&r->depth, depth, f->blocks);
}

static const char *encoding_of(const rule_list *list, const rule *r)
{
    return !strcmp(r->encoding, "keep") ? NULL : !strcmp(r->encoding, "base") ? list->encoding : r->encoding;
}

static void apply(qc_job *job, const rule_list *list, const rule *r, const model *m, const facts *f, choice *choices)
{
    uint64_t n = r->nth.n ? count_of_roles(m, r) : 0, nth = 0, hits = 0;
    if (!model_fits(&r->when, f))
        return;
    for (size_t i = 0; i < m->n_tensors; i++) {
        const model_tensor *t = &m->tensors[i];
        if (t->keep || !is_one_of(&r->roles, t->role))
            continue;
        int counted = is_counted(r, t, f, nth++, n);
        if (!counted || !tensor_fits(r, t, choices[i].encoding, f->blocks))
            continue;
        choices[i].encoding = encoding_of(list, r);
        choices[i].why = r->at;
        hits++;
    }
    if (r->own && hits == 0) {
        char where[300];
        log_say(job->host, QC_LOG_WARNING, "%s: this rule matches no tensor that is quantized",
                place_text(r->at, where, sizeof where));
    }
}

/* Widths that are no multiple of a block fall back step by step, as the `fallback` map says. */
static qc_status fall_back(qc_job *job, const rule_list *list, const model_tensor *t, block_cols_fn block_cols,
                           void *arg, choice *c)
{
    const char *wanted = c->encoding;
    char note[160];
    for (size_t steps = 0; c->encoding; steps++) {
        uint64_t block = block_cols(arg, c->encoding);
        if (block < 2 || t->dims[0] % block == 0)
            break;
        const yaml_node *next = yaml_get(list->fallback, c->encoding);
        if (!next || steps > list->fallback->n)
            return fail_at(job, c->why, QC_E_UNSUPPORTED,
                           "%s: %s needs a width that is a multiple of %llu, not %llu, and has no fallback", t->name,
                           c->encoding, (unsigned long long)block, (unsigned long long)t->dims[0]);
        c->encoding = strcmp(next->text, "keep") ? next->text : NULL;
    }
    if (!wanted || (c->encoding && !strcmp(wanted, c->encoding)))
        return QC_OK;
    snprintf(note, sizeof note, "width %llu: %s falls back to %s", (unsigned long long)t->dims[0], wanted,
             c->encoding ? c->encoding : t->encoding);
    c->note = strdup(note);
    return c->note ? QC_OK : job->fail(job, QC_E_NOMEM, "out of memory for a plan");
}

qc_status rules_choose(qc_job *job, const rule_list *list, const model *m, int has_importance, block_cols_fn block_cols,
                       void *arg, choice *choices)
{
    if (list->require && !has_importance)
        return fail_at(job, list->require_at, QC_E_INVALID,
                       "this preset needs to know what matters: name text files in calibration.text, or an imatrix "
                       "file in calibration.imatrix");
    facts f = facts_of(m, has_importance);
    const char *base = !strcmp(list->encoding, "keep") ? NULL : list->encoding;
    for (size_t i = 0; i < m->n_tensors; i++)
        choices[i] = (choice){.encoding = m->tensors[i].keep ? NULL : base, .why = list->encoding_at};
    for (size_t i = 0; i < list->n_rules; i++)
        apply(job, list, &list->rules[i], m, &f, choices);
    qc_status status = QC_OK;
    for (size_t i = 0; status == QC_OK && i < m->n_tensors; i++)
        status = fall_back(job, list, &m->tensors[i], block_cols, arg, &choices[i]);
    return status;
}
