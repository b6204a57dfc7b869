/* Metadata of the output: the model's, then what the preset says, then where importance came from. */
#ifndef CORE_PLANMETA_H
#define CORE_PLANMETA_H

#include "core/plan.h"
#include "core/rules.h"

/* Fills plan->metas. Values of a preset are typed by their looks: whole numbers u32, other numbers f32, true and false
 * bool, null takes a key away, the rest (and all in quotes) is text. */
qc_status plan_metas(qc_job *job, plan *p, const rule_list *rules, const struct statistics *s);

#endif
