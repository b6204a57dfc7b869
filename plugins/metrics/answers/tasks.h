/* Questions as a JSONL file has them. */
#ifndef TASKS_H
#define TASKS_H

#include "answers.h"
#include "greedy.h"

typedef struct choice {
    id_list ids; /* prompt and choice */
    size_t first, bytes; /* of the choice: its first token; its text's length */
    size_t sequence;
    double log_p;
} choice;

typedef struct task {
    size_t kind; /* index into kinds */
    choice *choices; /* owned; NULL: an exact answer */
    size_t n_choices, answer;
    greedy exact;
} task;

enum { KIND_NAME = 48 };

typedef struct task_kind {
    char name[KIND_NAME];
} task_kind;

typedef struct task_list {
    task *tasks;
    task_kind *kinds; /* in order of appearance */
    size_t n_tasks, task_capacity, n_kinds, kind_capacity;
} task_list;

/* Every line becomes a task; what is wrong with one is said with its number. limit 0: none. */
qc_status task_file_read(qc_job *job, const qc_evaluation *e, const char *path, size_t limit, task_list *out);
void task_list_free(const qc_host *host, task_list *list);

#endif
