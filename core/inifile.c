#include "core/inifile.h"
#include "core/array.h"
#include "core/text.h"
#include <ini.h>

/* inih cuts longer names short without a word. */
enum { MAX_NAME = 48, MAX_ITEMS = 2048 };

typedef struct parse {
    qc_job *job;
    ini_file *file;
    const char *text;
    size_t left;
    unsigned line, section_line; /* section_line: of the last header; 0: none yet */
    size_t section_first; /* index of the section's first item */
    qc_status status;
} parse;

static void fail_at(parse *p, unsigned line, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void fail_at(parse *p, unsigned line, const char *format, ...)
{
    char what[320];
    va_list args;
    if (p->status != QC_OK)
        return;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    p->status = qc_fail(p->job, QC_E_CORRUPT, "%s:%u: %s", p->file->path, line, what);
}

static void check_bytes(parse *p, const char *line, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)line[i];
        if ((c < ' ' && c != '\t' && c != '\r' && c != '\n') || c == 0x7f) {
            fail_at(p, p->line, "control character 0x%02x", c);
            return;
        }
    }
}

/* A header begins a section; the one before it must not be empty. */
static void begin_section(parse *p)
{
    if (p->section_line && p->section_first == p->file->n)
        fail_at(p, p->section_line, "section without keys");
    p->section_line = p->line;
    p->section_first = p->file->n;
}

/* ini_reader: the next line, at most size - 1 bytes. */
static char *read_line(char *line, int size, void *arg)
{
    parse *p = arg;
    if (p->left == 0 || p->status != QC_OK)
        return NULL;
    const char *end = memchr(p->text, '\n', p->left);
    size_t n = end ? (size_t)(end - p->text) + 1 : p->left;
    p->line++;
    check_bytes(p, p->text, n);
    if (n > (size_t)size - 1)
        fail_at(p, p->line, "line of %zu characters; the most is %d", n, size - 2);
    if (p->status != QC_OK)
        return NULL;
    memcpy(line, p->text, n);
    line[n] = 0;
    p->text += n;
    p->left -= n;
    size_t blanks = strspn(line, " \t");
    if (line[blanks] == '[' && !strchr(line, ']')) /* inih would add what follows to the section before */
        fail_at(p, p->line, "section header without ']'");
    else if (line[blanks] == '[')
        begin_section(p);
    else if (blanks > 0 && !strchr(";#\r\n", line[blanks])) /* inih would take it for more of the value above */
        fail_at(p, p->line, "line begins with blanks");
    return line;
}

/* Earlier items that make this one a repetition. */
static void check_repeats(parse *p, const char *section, const char *key)
{
    const ini_file *f = p->file;
    for (size_t i = 0; i < f->n; i++) {
        if (strcmp(f->items[i].section, section) != 0)
            continue;
        if (i < p->section_first)
            fail_at(p, p->section_line, "section [%s] again; it began in line %u", section, f->items[i].line);
        else if (!strcmp(f->items[i].key, key))
            fail_at(p, p->line, "'%s' again; line %u has it", key, f->items[i].line);
    }
}

/* ini_handler */
static int take_item(void *arg, const char *section, const char *key, const char *value)
{
    parse *p = arg;
    ini_file *f = p->file;
    if (strlen(section) > MAX_NAME || strlen(key) > MAX_NAME)
        fail_at(p, p->line, "name of more than %d characters", MAX_NAME);
    if (!*key)
        fail_at(p, p->line, "value without a key");
    if (f->n == MAX_ITEMS)
        fail_at(p, p->line, "more than %d keys", MAX_ITEMS);
    check_repeats(p, section, key);
    if (p->status != QC_OK)
        return 0;
    if (!array_reserve(&f->items, &f->capacity, f->n, sizeof *f->items)) {
        fail_at(p, p->line, "out of memory");
        return 0;
    }
    ini_item *item = &f->items[f->n++];
    *item = (ini_item){strdup(section), strdup(key), strdup(value ? value : ""), p->line};
    if (!item->section || !item->key || !item->value)
        fail_at(p, p->line, "out of memory");
    return p->status == QC_OK;
}

qc_status ini_file_parse(qc_job *job, const char *path, const char *text, size_t length, ini_file *out)
{
    *out = (ini_file){strdup(path), NULL, 0, 0};
    if (!out->path)
        return job->fail(job, QC_E_NOMEM, "out of memory");
    parse p = {job, out, text, length, 0, 0, 0, QC_OK};
    int wrong = ini_parse_stream(read_line, &p, take_item, &p);
    if (wrong > 0)
        fail_at(&p, (unsigned)wrong, "neither [section], nor key = value, nor comment");
    if (wrong < 0)
        fail_at(&p, p.line, "out of memory");
    begin_section(&p);
    return p.status;
}

qc_status ini_file_read(qc_job *job, const char *path, ini_file *out)
{
    char *text;
    size_t n;
    *out = (ini_file){0};
    qc_status status = text_read(job, path, INI_MAX_BYTES, &text, &n);
    if (status == QC_OK)
        status = ini_file_parse(job, path, text, n, out);
    free(text);
    return status;
}

void ini_file_free(ini_file *f)
{
    for (size_t i = 0; i < f->n; i++) {
        free(f->items[i].section);
        free(f->items[i].key);
        free(f->items[i].value);
    }
    free(f->items);
    free(f->path);
    *f = (ini_file){0};
}
