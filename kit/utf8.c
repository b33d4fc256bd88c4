/* SPDX-License-Identifier: Apache-2.0 */
#include "kit/utf8.h"

#include <string.h>

/* Size of the well-formed sequence at the start of text, 0 if there is none (RFC 3629, section 4:
 * the second byte's range depends on the first, which rules out overlong forms and surrogates). */
static size_t sequence_size(const unsigned char *text, size_t size)
{
    unsigned char low = 0x80;
    unsigned char high = 0xBF;
    size_t need;

    if (text[0] < 0x80)
        return 1;
    if (text[0] < 0xC2 || text[0] > 0xF4)
        return 0;
    need = text[0] < 0xE0 ? 2 : text[0] < 0xF0 ? 3 : 4;
    if (size < need)
        return 0;
    if (text[0] == 0xE0)
        low = 0xA0;
    else if (text[0] == 0xED)
        high = 0x9F;
    else if (text[0] == 0xF0)
        low = 0x90;
    else if (text[0] == 0xF4)
        high = 0x8F;
    if (text[1] < low || text[1] > high)
        return 0;
    for (size_t i = 2; i < need; i++) {
        if ((text[i] & 0xC0) != 0x80)
            return 0;
    }
    return need;
}

bool mb_utf8_valid(struct mb_slice text)
{
    const unsigned char *at = text.data;
    size_t left = text.size;

    while (left > 0) {
        size_t step;

        /* Nearly all text is ASCII: eight bytes at a time. */
        while (left >= sizeof(uint64_t)) {
            uint64_t word;

            memcpy(&word, at, sizeof word);
            if ((word & UINT64_C(0x8080808080808080)) != 0)
                break;
            at += sizeof word;
            left -= sizeof word;
        }
        if (left == 0)
            return true;
        step = sequence_size(at, left);
        if (step == 0)
            return false;
        at += step;
        left -= step;
    }
    return true;
}

bool mb_utf8_valid_without_nul(struct mb_slice text)
{
    if (text.size > 0 && memchr(text.data, '\0', text.size) != NULL)
        return false;
    return mb_utf8_valid(text);
}
