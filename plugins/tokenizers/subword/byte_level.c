#include "byte_level.h"
#include "utf8.h"

enum { FIRST_MOVED = 0x100, N_MOVED = 68 };

static int stays(unsigned byte)
{
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

/* The moved bytes are 0 to 32, 127 to 160 and 173. */
static unsigned moved_byte(unsigned i)
{
    return i <= 32 ? i : i < N_MOVED - 1 ? i - 33 + 127 : 173;
}

static unsigned moved_index(unsigned byte)
{
    return byte <= 32 ? byte : byte != 173 ? byte - 127 + 33 : N_MOVED - 1;
}

size_t byte_level_write(unsigned char byte, char *out)
{
    unsigned c = stays(byte) ? byte : FIRST_MOVED + moved_index(byte);
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    out[0] = (char)(0xc0 | c >> 6);
    out[1] = (char)(0x80 | (c & 0x3f));
    return 2;
}

size_t byte_level_piece(const qc_text *text, char *piece)
{
    size_t n = 0, length;
    for (size_t at = 0; at < text->length; at += length) {
        uint32_t c;
        length = utf8_next(text->data + at, text->length - at, &c);
        int is_byte = length > 0 && (c < FIRST_MOVED ? stays(c) : c < FIRST_MOVED + N_MOVED);
        if (!is_byte) {
            memcpy(piece, text->data, text->length);
            return text->length;
        }
        piece[n++] = (char)(c < FIRST_MOVED ? c : moved_byte(c - FIRST_MOVED));
    }
    return n;
}
