/* Bytes as printable characters, as GPT-2 wrote them down: 33 to 126, 161 to 172 and 174 to 255 are the characters of
 * the same number, the other 68 bytes in rising order those from U+0100 on. All of them are below U+0144. */
#ifndef SUBWORD_BYTE_LEVEL_H
#define SUBWORD_BYTE_LEVEL_H

#include "qcore/model.h"

enum { MAPPED_BYTES = 2 }; /* at most, of a byte's character in UTF-8 */

/* The character of a byte in UTF-8; returns its length. */
size_t byte_level_write(unsigned char byte, char *out);

/* The bytes that a token's text stands for. A text with other characters stands for itself. */
size_t byte_level_piece(const qc_text *text, char *piece);

#endif
