/* The nearest right name for a misspelt one. */
#ifndef CORE_SUGGEST_H
#define CORE_SUGGEST_H

/* For a loop over candidates: the better of `best` (NULL at first) and `candidate`; NULL while none is near enough. */
const char *suggest_better(const char *word, const char *best, const char *candidate);

#endif
