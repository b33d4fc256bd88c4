/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configurations of this tree with mistakes that people and editors make: bytes turned over, lines
 * that are missing, doubled or in another place, numbers out of range, values of another type,
 * huge strings, deep nesting, a name in the place of another. The input decides which. Each loads,
 * or a line is named that is wrong.
 */
#include "fuzz_load.h"

#define TEXT_SIZE_MAX (1u << 20)
#define MISTAKES_MAX  6u

struct mutant {
    uint8_t *data;
    size_t size;
};

struct span {
    size_t at;
    size_t size;
};

size_t mb_fuzz_seed(size_t index, uint8_t *data, size_t size)
{
    (void)index;
    (void)data;
    (void)size;
    return MB_FUZZ_NO_SEED;
}

static size_t below(struct mb_fuzz_input *input, size_t bound)
{
    return bound == 0 ? 0 : (size_t)mb_fuzz_number(input, 3) % bound;
}

/* Puts bytes in the place of the span. */
static void put(struct mutant *mutant, struct span span, const void *bytes, size_t size)
{
    if (mutant->size - span.size + size > TEXT_SIZE_MAX)
        return;
    memmove(mutant->data + span.at + size, mutant->data + span.at + span.size,
            mutant->size - span.at - span.size);
    memcpy(mutant->data + span.at, bytes, size);
    mutant->size = mutant->size - span.size + size;
}

static struct span line_of(const struct mutant *mutant, size_t at)
{
    size_t begin = at;
    size_t end = at;

    while (begin > 0 && mutant->data[begin - 1] != '\n')
        begin--;
    while (end < mutant->size && mutant->data[end] != '\n')
        end++;
    return (struct span){begin, end < mutant->size ? end + 1 - begin : end - begin};
}

static bool is_word(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '-';
}

/* The word at or behind that place; size 0: there is none. */
static struct span word_of(const struct mutant *mutant, size_t at)
{
    size_t end;

    while (at < mutant->size && !is_word(mutant->data[at]))
        at++;
    while (at > 0 && at < mutant->size && is_word(mutant->data[at - 1]))
        at--;
    end = at;
    while (end < mutant->size && is_word(mutant->data[end]))
        end++;
    return (struct span){at, end - at};
}

/* A value of the same line: what stands between = and ;. */
static struct span value_of(const struct mutant *mutant, size_t at)
{
    size_t end;

    while (at < mutant->size && mutant->data[at] != '=')
        at++;
    at += at < mutant->size ? 1 : 0;
    end = at;
    while (end < mutant->size && mutant->data[end] != ';' && mutant->data[end] != '\n')
        end++;
    return (struct span){at, end - at};
}

static void lines(struct mutant *mutant, struct mb_fuzz_input *input)
{
    struct span line = line_of(mutant, below(input, mutant->size + 1));
    size_t to = line_of(mutant, below(input, mutant->size + 1)).at;
    uint8_t *copy = malloc(line.size + 1);

    MB_FUZZ_CHECK(copy != NULL);
    memcpy(copy, mutant->data + line.at, line.size);
    switch (below(input, 3)) {
    case 0:
        put(mutant, line, "", 0);
        break;
    case 1:
        put(mutant, (struct span){to, 0}, copy, line.size);
        break;
    default:
        put(mutant, line, "", 0);
        put(mutant, (struct span){to < mutant->size ? to : mutant->size, 0}, copy, line.size);
        break;
    }
    free(copy);
}

/* A value of another type, or beyond its range. */
static void value(struct mutant *mutant, struct mb_fuzz_input *input)
{
    static const char *const values[] = {
        "0",
        "-1",
        "1",
        "2147483648",
        "-2147483649",
        "9223372036854775807L",
        "9223372036854775808",
        "99999999999999999999999999999999999",
        "0x7fffffffffffffff",
        "0xfffffffffffffffff",
        "1e309",
        "-0.0",
        "1.5",
        "nan",
        "true",
        "false",
        "\"\"",
        "\"0\"",
        "\"-1\"",
        "\"1d\"",
        "\"16EiB\"",
        "\"99999999999999999999s\"",
        "()",
        "[]",
        "{}",
        "( 1, 2 )",
        "[ \"a\", \"b\" ]",
        "{ a = 1; }",
        "( { a = ( ); } )",
        "\"${header.x}\"",
        "\"${\"",
        "\"^(\"",
        "\"[\"",
        "\"*\"",
        "\"file:\"",
        "\"env:\"",
        "\"credential:../x\"",
        "\"/no/such.so\"",
        "\"kafka\"",
        "\"memory\"",
        "\"\\x00\"",
        "\"a\" \"b\"",
        "\"\\xff\\xfe\"",
        "\"amqp://u:p@h:99999/\"",
        "",
        ";",
        "= 1",
        "\"",
        "/*",
        "#",
        "@include \"x\"",
    };
    const char *chosen = values[below(input, sizeof values / sizeof values[0])];

    put(mutant, value_of(mutant, below(input, mutant->size + 1)), chosen, strlen(chosen));
}

/* A string or a number of up to 64 KiB, or as many groups within each other. */
static void huge(struct mutant *mutant, struct mb_fuzz_input *input)
{
    static const char *const units[] = {"x",           "9",      "\xF0\x9F\x8C\x89",
                                        "\\n",         "${key}", "( ",
                                        "{ a = ",      "[ ",     "\"a\" ",
                                        "a = 1; ",     "(1,",    "/* ",
                                        "${header.a:-"};
    size_t kind = below(input, sizeof units / sizeof units[0]);
    size_t unit = strlen(units[kind]);
    size_t count = (size_t)1 << below(input, 1 + below(input, 15));
    bool quoted = kind < 5 && kind != 1;
    uint8_t *text = malloc(unit * count + 2);
    size_t size = 0;

    MB_FUZZ_CHECK(text != NULL);
    if (quoted)
        text[size++] = '"';
    for (size_t i = 0; i < count; i++, size += unit)
        memcpy(text + size, units[kind], unit);
    if (quoted)
        text[size++] = '"';
    put(mutant, value_of(mutant, below(input, mutant->size + 1)), text, size);
    free(text);
}

/* One word in the place of another. */
static void words(struct mutant *mutant, struct mb_fuzz_input *input)
{
    struct span from = word_of(mutant, below(input, mutant->size + 1));
    struct span to = word_of(mutant, below(input, mutant->size + 1));
    uint8_t *copy = malloc(from.size + 1);

    MB_FUZZ_CHECK(copy != NULL);
    memcpy(copy, mutant->data + from.at, from.size);
    put(mutant, to, copy, from.size);
    free(copy);
}

static void bytes(struct mutant *mutant, struct mb_fuzz_input *input)
{
    static const char marks[] = "{}()[];:,=\"\\#/*$.@\n\t \r\177\200\377\1";
    size_t at = below(input, mutant->size + 1);
    struct span one = {at, at < mutant->size ? 1 : 0};
    uint8_t flipped = at < mutant->size ? mutant->data[at] : 0;

    switch (below(input, 4)) {
    case 0:
        flipped = (uint8_t)(flipped ^ 1u << below(input, 8));
        put(mutant, one, &flipped, 1);
        break;
    case 1:
        put(mutant, one, "", 0);
        break;
    case 2:
        put(mutant, (struct span){at, 0}, marks + below(input, sizeof marks), 1);
        break;
    default:
        mutant->size = below(input, 8) == 0 ? at : mutant->size; /* cut off */
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const mistakes[])(struct mutant *, struct mb_fuzz_input *) = {
        lines, value, huge, words, bytes, bytes, value};
    static uint8_t text[TEXT_SIZE_MAX];
    struct mb_fuzz_input input = {data, size};
    struct mutant mutant = {.data = text};
    size_t count;

    mutant.size = fuzz_config_read(below(&input, FUZZ_CONFIGS_MAX), text, TEXT_SIZE_MAX);
    for (count = 1 + below(&input, MISTAKES_MAX); count > 0 && input.left > 0; count--)
        mistakes[below(&input, sizeof mistakes / sizeof mistakes[0])](&mutant, &input);
    fuzz_config_load(text, mutant.size);
    return 0;
}
