/* SPDX-License-Identifier: Apache-2.0 */
#include "core/config/suggest.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* Longer names are compared by their beginning only. */
#define LENGTH_MAX 63

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static int folded(char c)
{
    return c == '-' ? '_' : tolower((unsigned char)c);
}

/* Edits to come from a to b: insert, delete, replace, swap neighbours (one each). */
static size_t distance(const char *a, const char *b)
{
    size_t rows[3][LENGTH_MAX + 1];
    size_t *before = rows[0];
    size_t *last = rows[1];
    size_t *now = rows[2];
    size_t a_size = least(strlen(a), LENGTH_MAX);
    size_t b_size = least(strlen(b), LENGTH_MAX);

    memset(rows, 0, sizeof rows);
    for (size_t j = 0; j <= b_size; j++)
        last[j] = j;
    for (size_t i = 1; i <= a_size; i++) {
        size_t *turn = before;

        now[0] = i;
        for (size_t j = 1; j <= b_size; j++) {
            size_t cost = folded(a[i - 1]) != folded(b[j - 1]);

            now[j] = least(least(last[j] + 1, now[j - 1] + 1), last[j - 1] + cost);
            if (i > 1 && j > 1 && folded(a[i - 1]) == folded(b[j - 2]) &&
                folded(a[i - 2]) == folded(b[j - 1]))
                now[j] = least(now[j], before[j - 2] + 1);
        }
        before = last;
        last = now;
        now = turn;
    }
    return last[b_size];
}

void mb_suggestion_init(struct mb_suggestion *suggestion, const char *wanted)
{
    size_t size = strlen(wanted);

    suggestion->wanted = wanted;
    suggestion->best = NULL;
    suggestion->distance = size < 5 ? 2 : size < 9 ? 3 : 4;
}

void mb_suggestion_offer(struct mb_suggestion *suggestion, const char *candidate)
{
    size_t size = strlen(suggestion->wanted);
    size_t found = distance(suggestion->wanted, candidate);
    size_t common = least(size, strlen(candidate));

    /* Where one is the beginning of the other, the rest does not count. */
    if (common >= 3 && strncmp(candidate, suggestion->wanted, common) == 0)
        found = least(found, 1);
    if (found >= size)
        return;
    if (found < suggestion->distance) {
        suggestion->distance = found;
        suggestion->best = candidate;
    }
}

const char *mb_suggestion_text(const struct mb_suggestion *suggestion, char *buffer, size_t size)
{
    if (suggestion->best != NULL)
        snprintf(buffer, size, " (did you mean \"%s\"?)", suggestion->best);
    else
        buffer[0] = '\0';
    return buffer;
}
