/* Hints about the cache change no byte: what was pushed to the disk or given back is read again as it was. */
#include "core/stream.h"
#include "scratch_folder.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { PIECE = 100003, PIECES = 40 }; /* across pages, and past what is looked at again */

static unsigned char piece[PIECE], got[PIECE];

static const unsigned char *nth_piece(int n)
{
    for (size_t i = 0; i < PIECE; i++)
        piece[i] = (unsigned char)((size_t)n * 31 + i * 7);
    return piece;
}

static void expect_pieces(int fd, int forget)
{
    for (int n = 0; n < PIECES; n++) {
        off_t at = (off_t)n * PIECE;
        assert_int_equal(pread(fd, got, PIECE, at), PIECE);
        assert_memory_equal(got, nth_piece(n), PIECE);
        if (forget)
            stream_forget(fd, (uint64_t)at, PIECE);
    }
}

static void write_pushed(scratch_folder *s, int is_large)
{
    int fd = open(scratch_path(s, "pushed"), O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    for (int n = 0; n < PIECES; n++) {
        assert_int_equal(pwrite(fd, nth_piece(n), PIECE, (off_t)n * PIECE), PIECE);
        stream_push(fd, is_large);
    }
    stream_begin(fd);
    expect_pieces(fd, 1);
    expect_pieces(fd, 0);
    close(fd);
}

static void bytes_stay_what_they_are(void **state)
{
    write_pushed(*state, 0);
    write_pushed(*state, 1);
}

static void hints_on_no_file_are_harmless(void **state)
{
    (void)state;
    stream_begin(-1);
    stream_forget(-1, 0, 1);
    stream_push(-1, 0);
    stream_push(-1, 1);
}

static void large_is_more_than_half_of_memory(void **state)
{
    (void)state;
    assert_false(stream_is_large(0));
    assert_false(stream_is_large(1 << 20));
    assert_true(stream_is_large(UINT64_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(bytes_stay_what_they_are, scratch_begin, scratch_end),
        cmocka_unit_test(hints_on_no_file_are_harmless),
        cmocka_unit_test(large_is_more_than_half_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
