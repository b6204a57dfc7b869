#include "core/progress.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define DRAW_SECONDS 0.1
#define LINE_SECONDS 10.0

struct progress {
    uint64_t done, total;
    int quiet, is_terminal, drawn;
    double begin, last; /* last: when something was shown */
    unsigned last_tenth;
    progress_unit unit;
    const char *phase; /* NULL: there is one thing to do */
    pthread_mutex_t lock;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static unsigned terminal_width(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

progress *progress_new(uint64_t total, int quiet)
{
    progress *p = calloc(1, sizeof *p);
    const char *terminal = getenv("TERM");
    if (!p)
        return NULL;
    p->total = total;
    p->quiet = quiet;
    p->is_terminal = isatty(STDERR_FILENO) && terminal && strcmp(terminal, "dumb") != 0;
    p->begin = p->last = now();
    pthread_mutex_init(&p->lock, NULL);
    return p;
}

void progress_set_unit(progress *p, const char *unit, uint64_t steps)
{
    if (p)
        p->unit = (progress_unit){unit, steps ? steps : 1};
}

void progress_set_phase(progress *p, const char *phase)
{
    if (p)
        p->phase = phase;
}

void progress_clear(progress *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    if (p->drawn)
        fputs("\r\033[K", stderr);
    p->drawn = 0;
    pthread_mutex_unlock(&p->lock);
}

void progress_free(progress *p)
{
    if (!p)
        return;
    progress_clear(p);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

double progress_seconds(const progress *p)
{
    return p ? now() - p->begin : 0;
}

static double share(uint64_t done, uint64_t total)
{
    return total ? (double)done / (double)total : 1.0;
}

enum { RATE_TEXT = 48 };

/* "123.4 MB/s", "1234 tokens/s". */
static const char *rate_text(uint64_t done, double seconds, const progress_unit *unit, char text[RATE_TEXT])
{
    double rate = seconds > 0 ? (double)done / seconds : 0;
    double steps = rate / (double)unit->steps;
    if (unit->name) /* of blocks, which may take a minute, two digits */
        snprintf(text, RATE_TEXT, "%7.*f %.24s/s", steps >= 10 ? 0 : steps >= 0.995 ? 1 : 2, steps, unit->name);
    else
        snprintf(text, RATE_TEXT, "%7.1f MB/s", rate * 1e-6);
    return text;
}

/* "1:02:03", "2:03"; "--:--" until it can be told. */
static void format_eta(char text[32], uint64_t done, uint64_t total, double seconds)
{
    double left = done && seconds > 0.5 ? seconds * (double)(total - done) / (double)done : -1;
    if (left < 0 || left > 360000)
        snprintf(text, 32, "--:--");
    else if (left >= 3600)
        snprintf(text, 32, "%d:%02d:%02d", (int)left / 3600, (int)left / 60 % 60, (int)left % 60);
    else
        snprintf(text, 32, "%d:%02d", (int)left / 60, (int)left % 60);
}

void progress_bar(char *line, size_t size, unsigned width, const char *what, uint64_t done, uint64_t total,
                  double seconds, const progress_unit *unit)
{
    enum { MOST_CELLS = 20, NAME = 28 }; /* of 80 columns, 21 are left for "calibration: block 31" */
    char eta[32], rate[RATE_TEXT], figures[128], cells[MOST_CELLS + 1];
    done = done < total ? done : total;
    format_eta(eta, done, total, seconds);
    int used = snprintf(figures, sizeof figures, "%3d %%  %s  ETA %s", (int)(share(done, total) * 100),
                        rate_text(done, seconds, unit, rate), eta);
    unsigned fixed = (unsigned)used + 4, n = 0; /* 4: brackets and the blanks around the bar */
    if (width > fixed)
        n = width - fixed < MOST_CELLS ? width - fixed : MOST_CELLS;
    for (unsigned i = 0; i < n; i++)
        cells[i] = i < (unsigned)(share(done, total) * n) ? '#' : '.';
    cells[n] = '\0';
    unsigned left = width > fixed + n + 1 ? width - fixed - n - 1 : 0;
    if (n < 8)
        snprintf(line, size, "%.*s", (int)width, figures);
    else if (left < 8)
        snprintf(line, size, "[%s] %s", cells, figures);
    else
        snprintf(line, size, "[%s] %s  %.*s", cells, figures, (int)(left < NAME ? left : NAME), what);
}

enum { WHERE_TEXT = 96 };

/* "calibration: block 3" */
static const char *where_text(const progress *p, const char *what, char text[WHERE_TEXT])
{
    snprintf(text, WHERE_TEXT, "%.24s%s%.60s", p->phase ? p->phase : "", p->phase ? ": " : "", what);
    return text;
}

static void draw(progress *p, const char *what)
{
    char line[256];
    unsigned width = terminal_width();
    const char *no_color = getenv("NO_COLOR");
    width = width < sizeof line ? width - 1 : (unsigned)sizeof line - 1;
    char where[WHERE_TEXT];
    progress_bar(line, sizeof line, width, where_text(p, what, where), p->done, p->total, now() - p->begin, &p->unit);
    if (no_color && *no_color)
        fprintf(stderr, "\r\033[K%s", line);
    else
        fprintf(stderr, "\r\033[K\033[36m%s\033[0m", line);
    fflush(stderr);
    p->drawn = 1;
}

/* Now and then, for logs: at each tenth of the way, but not twice a second; or after ten seconds. */
static void say(progress *p, const char *what)
{
    double time = now();
    char rate[RATE_TEXT], where[WHERE_TEXT];
    unsigned tenth = (unsigned)(share(p->done, p->total) * 10);
    if (time - p->last < LINE_SECONDS && (tenth == p->last_tenth || time - p->last < 0.5))
        return;
    const char *shown = rate_text(p->done, time - p->begin, &p->unit, rate);
    fprintf(stderr, "qcore: %3d %%  %s  %s\n", (int)(share(p->done, p->total) * 100), shown + strspn(shown, " "),
            where_text(p, what, where));
    p->last = time;
    p->last_tenth = tenth;
}

void progress_step(progress *p, const char *what, uint64_t steps)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->done += steps;
    if (p->is_terminal && !p->quiet && now() - p->last >= DRAW_SECONDS) {
        draw(p, what);
        p->last = now();
    } else if (!p->is_terminal && !p->quiet) {
        say(p, what);
    }
    pthread_mutex_unlock(&p->lock);
}
