/* Tables of text: columns for people, Markdown, and CSV (RFC 4180). */
#ifndef CORE_TABLE_H
#define CORE_TABLE_H

#include <stddef.h>
#include <stdio.h>

typedef struct table_cell {
    char *text, *detail; /* detail: what may go below it where columns are narrow ("± 0.03"); NULL: none */
} table_cell;

/* The first row is the heading. The first column is set to the left, all others to the right. */
typedef struct table {
    size_t n_columns, n_cells, capacity;
    table_cell *cells; /* row by row */
    int failed; /* out of memory: a cell is missing */
} table;

/* Appends the next cell; texts are copied, detail may be NULL. */
void table_put(table *t, const char *text, const char *detail);
void table_free(table *t);

/* Not wider than `width` columns of the terminal (0: any): then details go below their texts, and, where that is not
 * enough, some columns go into a further table below. */
void table_print_text(const table *t, size_t width, FILE *file);
void table_print_markdown(const table *t, FILE *file);
void table_print_csv(const table *t, FILE *file); /* texts alone */

#endif
