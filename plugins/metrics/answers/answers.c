#include "answers.h"

QC_PLUGIN(&answers_tasks.base, &answers_retrieval.base);
