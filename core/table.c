#include "core/table.h"
#include "core/array.h"
#include <ctype.h>

enum { GAP = 2 }; /* blanks between columns */

void table_put(table *t, const char *text, const char *detail)
{
    if (!array_reserve(&t->cells, &t->capacity, t->n_cells, sizeof *t->cells)) {
        t->failed = 1;
        return;
    }
    table_cell *cell = &t->cells[t->n_cells++];
    *cell = (table_cell){strdup(text), detail ? strdup(detail) : NULL};
    t->failed |= !cell->text || (detail && !cell->detail);
}

void table_free(table *t)
{
    for (size_t i = 0; i < t->n_cells; i++) {
        free(t->cells[i].text);
        free(t->cells[i].detail);
    }
    free(t->cells);
    *t = (table){0};
}

static size_t n_rows(const table *t)
{
    return t->n_columns ? t->n_cells / t->n_columns : 0;
}

static const table_cell *cell_at(const table *t, size_t row, size_t column)
{
    return &t->cells[row * t->n_columns + column];
}

/* Characters of UTF-8: every byte but those that go on one. */
static size_t length(const char *text)
{
    size_t n = 0;
    for (; text && *text; text++)
        n += (*text & 0xc0) != 0x80;
    return n;
}

/* ---- text ---- */

/* Blanks are kept back until something follows them. */
typedef struct line {
    FILE *file;
    size_t blanks;
} line;

static void put(line *l, const char *text)
{
    if (!text || !*text)
        return;
    fprintf(l->file, "%*s%s", (int)l->blanks, "", text);
    l->blanks = 0;
}

static void end_line(line *l)
{
    putc('\n', l->file);
    l->blanks = 0;
}

typedef struct column_width {
    size_t text, detail, all; /* detail, with a blank before it; all: of a line */
} column_width;

/* stacked: details go below their texts. */
static column_width measure(const table *t, size_t column, int stacked)
{
    column_width w = {0};
    for (size_t row = 1; row < n_rows(t); row++) {
        const table_cell *cell = cell_at(t, row, column);
        size_t text = length(cell->text), detail = cell->detail ? length(cell->detail) + !stacked : 0;
        w.text = text > w.text ? text : w.text;
        w.detail = detail > w.detail ? detail : w.detail;
    }
    size_t heading = length(cell_at(t, 0, column)->text);
    w.all = !stacked ? w.text + w.detail : w.text > w.detail ? w.text : w.detail;
    w.all = heading > w.all ? heading : w.all;
    return w;
}

/* Columns [first, end) behind column 0. */
typedef struct part {
    const table *table;
    size_t first, end;
    int stacked;
} part;

static void put_right(line *l, const char *text, size_t width)
{
    size_t n = length(text);
    l->blanks += width > n ? width - n : 0;
    put(l, text);
}

/* The text ends where all texts of the column end, its detail begins right behind. */
static void put_beside(line *l, const table_cell *cell, column_width w)
{
    size_t used = cell->detail ? 1 + length(cell->detail) : 0;
    put_right(l, cell->text, w.all - w.detail);
    l->blanks += used > 0;
    put(l, cell->detail);
    l->blanks += w.detail - used;
}

static void print_row(const part *p, size_t row, FILE *file)
{
    line l = {file, 0};
    const table_cell *name = cell_at(p->table, row, 0);
    size_t width = measure(p->table, 0, p->stacked).all;
    put(&l, name->text);
    l.blanks = width - length(name->text);
    for (size_t c = p->first; c < p->end; c++) {
        const table_cell *cell = cell_at(p->table, row, c);
        column_width w = measure(p->table, c, p->stacked);
        l.blanks += GAP;
        if (row == 0 || p->stacked || w.detail == 0)
            put_right(&l, cell->text, w.all);
        else
            put_beside(&l, cell, w);
    }
    end_line(&l);
}

static void print_details(const part *p, size_t row, FILE *file)
{
    line l = {file, measure(p->table, 0, p->stacked).all};
    int any = 0;
    for (size_t c = p->first; c < p->end; c++)
        any |= cell_at(p->table, row, c)->detail != NULL;
    for (size_t c = p->first; any && c < p->end; c++) {
        l.blanks += GAP;
        const char *detail = cell_at(p->table, row, c)->detail;
        put_right(&l, detail ? detail : "", measure(p->table, c, p->stacked).all);
    }
    if (any)
        end_line(&l);
}

static void print_part(const part *p, FILE *file)
{
    for (size_t row = 0; row < n_rows(p->table); row++) {
        print_row(p, row, file);
        if (p->stacked)
            print_details(p, row, file);
    }
}

/* How far columns from `first` on fit: at least one. */
static size_t fitting(const table *t, size_t first, size_t width, int stacked)
{
    size_t used = measure(t, 0, stacked).all, end = first;
    for (; end < t->n_columns; end++) {
        used += GAP + measure(t, end, stacked).all;
        if (width && used > width && end > first)
            break;
    }
    return end;
}

void table_print_text(const table *t, size_t width, FILE *file)
{
    part p = {.table = t, .first = 1};
    if (n_rows(t) == 0)
        return;
    p.stacked = fitting(t, 1, width, 0) < t->n_columns;
    do {
        if (p.first > 1)
            putc('\n', file);
        p.end = fitting(t, p.first, width, p.stacked);
        print_part(&p, file);
        p.first = p.end;
    } while (p.first < t->n_columns);
}

/* ---- Markdown ---- */

/* Characters that Markdown would take for its own; "_" within a word it leaves alone. */
static int is_special(const char *text, size_t i)
{
    if (text[i] == '_')
        return i == 0 || !isalnum((unsigned char)text[i - 1]) || !isalnum((unsigned char)text[i + 1]);
    return strchr("\\|*`<>[]~", text[i]) != NULL;
}

/* Into `to` of at least 2 strlen + 1 bytes. A cell cannot have lines. */
static size_t escape(const char *text, char *to)
{
    size_t n = 0;
    for (size_t i = 0; text[i]; i++) {
        if (is_special(text, i))
            to[n++] = '\\';
        to[n++] = text[i] == '\n' || text[i] == '\r' ? ' ' : text[i];
    }
    to[n] = '\0';
    return n;
}

static char *markdown_cell(const table_cell *cell)
{
    size_t detail = cell->detail ? strlen(cell->detail) : 0;
    char *text = malloc(2 * (strlen(cell->text) + detail) + 2);
    if (!text)
        return NULL;
    size_t n = escape(cell->text, text);
    if (cell->detail) {
        text[n++] = ' ';
        escape(cell->detail, text + n);
    }
    return text;
}

static size_t markdown_width(const table *t, size_t column)
{
    size_t width = 3;
    for (size_t row = 0; row < n_rows(t); row++) {
        char *text = markdown_cell(cell_at(t, row, column));
        size_t n = length(text);
        free(text);
        width = n > width ? n : width;
    }
    return width;
}

static void print_markdown_row(const table *t, size_t row, FILE *file)
{
    for (size_t c = 0; c < t->n_columns; c++) {
        char *text = markdown_cell(cell_at(t, row, c));
        size_t n = length(text), width = markdown_width(t, c);
        int blanks = (int)(width > n ? width - n : 0);
        fprintf(file, "| %*s%s%*s ", c ? blanks : 0, "", text ? text : "", c ? 0 : blanks, "");
        free(text);
    }
    fputs("|\n", file);
}

void table_print_markdown(const table *t, FILE *file)
{
    for (size_t row = 0; row < n_rows(t); row++) {
        print_markdown_row(t, row, file);
        for (size_t c = 0; row == 0 && c < t->n_columns; c++) {
            fputs(c ? "| " : "| :", file);
            for (size_t n = markdown_width(t, c) - 1; n > 0; n--)
                putc('-', file);
            fputs(c ? ": " : " ", file);
        }
        if (row == 0)
            fputs("|\n", file);
    }
}

/* ---- CSV ---- */

static void put_field(const char *text, FILE *file)
{
    if (!strpbrk(text, ",\"\r\n")) {
        fputs(text, file);
        return;
    }
    putc('"', file);
    for (; *text; text++) {
        if (*text == '"')
            putc('"', file);
        putc(*text, file);
    }
    putc('"', file);
}

void table_print_csv(const table *t, FILE *file)
{
    for (size_t i = 0; i < n_rows(t) * t->n_columns; i++) {
        put_field(t->cells[i].text, file);
        fputs((i + 1) % t->n_columns ? "," : "\r\n", file);
    }
}
