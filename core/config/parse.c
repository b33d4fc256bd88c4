/* SPDX-License-Identifier: Apache-2.0 */
/* Values as they are written: numbers, sizes, durations, times, start positions. */
#include "core/config/settings.h"

#include <ctype.h>
#include <time.h>

struct unit {
    const char *name;
    int64_t factor;
};

static const struct unit duration_units[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", 3600 * 1000}, {"d", 86400 * 1000},
};

static const struct unit size_units[] = {
    {"", 1},
    {"B", 1},
    {"KiB", 1024},
    {"MiB", 1024 * 1024},
    {"GiB", 1024 * 1024 * 1024},
    {"TiB", 1024LL * 1024 * 1024 * 1024},
    {"kB", 1000},
    {"KB", 1000},
    {"MB", 1000 * 1000},
    {"GB", 1000 * 1000 * 1000},
    {"TB", 1000LL * 1000 * 1000 * 1000},
};

/* Decimal digits only; *ret_rest is what stands behind them. */
static enum mb_status take_digits(const char *text, int64_t *ret_number, const char **ret_rest)
{
    int64_t number = 0;

    if (!isdigit((unsigned char)*text))
        return MB_INVALID;
    for (; isdigit((unsigned char)*text); text++) {
        int digit = *text - '0';

        if (number > (INT64_MAX - digit) / 10)
            return MB_INVALID;
        number = number * 10 + digit;
    }
    *ret_number = number;
    *ret_rest = text;
    return MB_OK;
}

enum mb_status mb_parse_integer(const char *text, int64_t *ret_number)
{
    bool negative = *text == '-';
    const char *rest;
    int64_t number;

    if (take_digits(text + negative, &number, &rest) != MB_OK || *rest != '\0')
        return MB_INVALID;
    *ret_number = negative ? -number : number;
    return MB_OK;
}

static enum mb_status with_unit(const char *text, const struct unit *units, size_t count,
                                int64_t *ret_value)
{
    const char *rest;
    int64_t number;

    if (take_digits(text, &number, &rest) != MB_OK)
        return MB_INVALID;
    while (*rest == ' ')
        rest++;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(rest, units[i].name) != 0)
            continue;
        if (number > INT64_MAX / units[i].factor)
            return MB_INVALID;
        *ret_value = number * units[i].factor;
        return MB_OK;
    }
    return MB_INVALID;
}

enum mb_status mb_parse_duration_ms(const char *text, int64_t *ret_ms)
{
    if (strcmp(text, "0") == 0) {
        *ret_ms = 0;
        return MB_OK;
    }
    return with_unit(text, duration_units, sizeof duration_units / sizeof *duration_units, ret_ms);
}

enum mb_status mb_parse_size_bytes(const char *text, int64_t *ret_bytes)
{
    return with_unit(text, size_units, sizeof size_units / sizeof *size_units, ret_bytes);
}

/* count digits at *text, which moves behind them. */
static bool take_number(const char **text, int count, int *ret_number)
{
    int number = 0;

    for (int i = 0; i < count; i++, (*text)++) {
        if (!isdigit((unsigned char)**text))
            return false;
        number = number * 10 + (**text - '0');
    }
    *ret_number = number;
    return true;
}

static bool take_char(const char **text, const char *choices)
{
    if (**text == '\0' || strchr(choices, **text) == NULL)
        return false;
    (*text)++;
    return true;
}

/* "Z", "+01:00", "-0530" in minutes east of UTC, and nothing behind it. */
static bool take_zone(const char *at, int *ret_minutes)
{
    int sign = *at == '-' ? -1 : 1;
    int hours;
    int minutes;

    if ((*at == 'Z' || *at == 'z') && at[1] == '\0') {
        *ret_minutes = 0;
        return true;
    }
    if (!take_char(&at, "+-") || !take_number(&at, 2, &hours))
        return false;
    if (*at == ':')
        at++;
    if (!take_number(&at, 2, &minutes) || *at != '\0' || hours > 23 || minutes > 59)
        return false;
    *ret_minutes = sign * (hours * 60 + minutes);
    return true;
}

static int days_in(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return days[month - 1] + (month == 2 && leap);
}

enum mb_status mb_parse_time_ms(const char *text, int64_t *ret_ms)
{
    struct tm parts = {0};
    int milliseconds = 0;
    int zone;
    int year;
    int month;

    if (!take_number(&text, 4, &year) || !take_char(&text, "-") || !take_number(&text, 2, &month) ||
        !take_char(&text, "-") || !take_number(&text, 2, &parts.tm_mday) ||
        !take_char(&text, "Tt ") || !take_number(&text, 2, &parts.tm_hour) ||
        !take_char(&text, ":") || !take_number(&text, 2, &parts.tm_min) || !take_char(&text, ":") ||
        !take_number(&text, 2, &parts.tm_sec))
        return MB_INVALID;
    if (*text == '.') {
        int weight = 100;

        for (text++; isdigit((unsigned char)*text); text++, weight /= 10)
            milliseconds += (*text - '0') * weight;
    }
    if (!take_zone(text, &zone) || year < 1970 || month < 1 || month > 12 || parts.tm_mday < 1 ||
        parts.tm_mday > days_in(year, month) || parts.tm_hour > 23 || parts.tm_min > 59 ||
        parts.tm_sec > 60)
        return MB_INVALID;
    parts.tm_year = year - 1900;
    parts.tm_mon = month - 1;
    *ret_ms = (int64_t)(timegm(&parts) - (time_t)zone * 60) * 1000 + milliseconds;
    return *ret_ms < 0 ? MB_INVALID : MB_OK;
}

enum mb_status mb_parse_start(const char *text, int64_t now_ms, struct mb_position *ret_position)
{
    struct mb_position position = {0};
    int64_t ms;

    if (strcmp(text, "earliest") == 0) {
        position.kind = MB_POSITION_BEGIN;
    } else if (strcmp(text, "latest") == 0) {
        position.kind = MB_POSITION_END;
    } else if (strcmp(text, "stored") == 0) {
        position.kind = MB_POSITION_STORED;
    } else if (text[0] == '-' && mb_parse_duration_ms(text + 1, &ms) == MB_OK) {
        position.kind = MB_POSITION_TIME;
        position.lo = ms < now_ms ? (uint64_t)(now_ms - ms) : 0;
    } else if (mb_parse_time_ms(text, &ms) == MB_OK) {
        position.kind = MB_POSITION_TIME;
        position.lo = (uint64_t)ms;
    } else {
        return MB_INVALID;
    }
    *ret_position = position;
    return MB_OK;
}
