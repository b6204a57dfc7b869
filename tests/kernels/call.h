/* What main.c and bench.c need of call.c. */
#ifndef CALL_H
#define CALL_H

#include "check.h"

/* From now on a kernel that crashes is reported. 0: cannot be done. */
int catch_signals(void);

/* Puts the buffers of a call where they can be used over and over. */
void call_place(call *c);

#endif
