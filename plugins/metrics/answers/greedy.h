/* Would greedy decoding say this answer?
 *
 * Without decoding token by token: the answer is put behind the prompt, the model sees all of it at once, and wherever it
 * was fed what it would have said itself, its largest logit is what greedy decoding says next. What counts is text, not
 * tokens: where the model would say another token that still spells the answer ("1" "69" for "16" "9"), what it says is
 * accepted, the rest of the answer is read anew behind it, and the question goes into the next round.
 *
 * The answer must also end there: what comes after it may not begin with a letter or digit (ASCII), or "12" would be
 * taken for "123". */
#ifndef GREEDY_H
#define GREEDY_H

#include "ids.h"

typedef struct greedy {
    id_list said; /* the prompt, and tokens that spell what is done of the answer */
    id_list guess; /* tokens of the rest, which greedy decoding may or may not say */
    char *answer; /* owned */
    size_t n, done; /* bytes of the answer; of them: said */
    size_t sequence; /* of this round */
    int asked, decided, right;
} greedy;

/* The answer and `said` are set; `guess` may be. Adds a sequence, number *sequence, unless decided. */
qc_status greedy_ask(greedy *g, qc_job *job, const qc_evaluation *e, const qc_ask *ask, size_t *sequence);
qc_status greedy_take(greedy *g, qc_job *job, const qc_evaluation *e, const qc_scores *scores);
void greedy_free(const qc_host *host, greedy *g);

#endif
