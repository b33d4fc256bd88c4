/* SPDX-License-Identifier: Apache-2.0 */
/* Reading described values, and arrays, which may have a described constructor. */
#include "kit/types_parts.h"

/* What an array may hold for each of its bytes without being charged to MB_TYPES_BARE_MAX: an
 * element of one byte under one descriptor is three items. */
#define ITEMS_A_BYTE 4u

/* The two described values that are types of the envelope. */
static bool is_seconds(const struct mb_value *descriptor, const struct mb_value *value)
{
    return descriptor->type == MB_SYMBOL && value->type == MB_I64 &&
           mb_slice_equal(descriptor->as.bytes, MB_SLICE_LITERAL(MB_DESCRIPTOR_SECONDS));
}

static bool is_scaled(const struct mb_value *descriptor, const struct mb_value *value)
{
    return descriptor->type == MB_SYMBOL && value->type == MB_LIST && value->as.items.count == 2 &&
           value->as.items.values[0].type == MB_U8 && value->as.items.values[1].type == MB_U32 &&
           mb_slice_equal(descriptor->as.bytes, MB_SLICE_LITERAL(MB_DESCRIPTOR_SCALED));
}

static bool is_ours(const struct mb_value *described)
{
    const struct mb_value *parts = described->as.items.values;

    return is_seconds(&parts[0], &parts[1]) || is_scaled(&parts[0], &parts[1]);
}

static void make_ours(struct mb_value *described)
{
    const struct mb_value *value = &described->as.items.values[1];

    if (value->type == MB_I64) {
        described->type = MB_TIMESTAMP_S;
        described->as.i = value->as.i;
    } else {
        const struct mb_value *parts = value->as.items.values;

        described->type = MB_DECIMAL_SCALED;
        described->as.scaled.scale = (uint8_t)parts[0].as.u;
        described->as.scaled.value = (uint32_t)parts[1].as.u;
    }
}

static void set_described(struct mb_value *value, struct mb_value *parts)
{
    value->type = MB_DESCRIBED;
    value->as.items.values = parts;
    value->as.items.count = 2;
    value->as.items.element = MB_NULL;
}

enum mb_status mb_types_scan_described(struct mb_types_scan *scan, unsigned depth,
                                       struct mb_value *ret_value)
{
    struct mb_value ignored[2];
    struct mb_value *parts = ignored;
    enum mb_status status;

    if (depth >= MB_TYPES_DEPTH_MAX)
        return MB_REJECTED;
    if (scan->arena != NULL) {
        parts = mb_types_new_items(scan, 2);
        if (parts == NULL)
            return MB_NO_MEMORY;
    }
    status = mb_types_scan_value(scan, depth + 1, &parts[0]);
    if (status == MB_OK)
        status = mb_types_scan_value(scan, depth + 1, &parts[1]);
    if (status != MB_OK || scan->arena == NULL)
        return status;
    set_described(ret_value, parts);
    if (is_ours(ret_value))
        make_ours(ret_value);
    return MB_OK;
}

/* What all elements of an array begin with: descriptors, outermost first, and a format code. */
struct constructor {
    struct mb_value *descriptors;
    unsigned descriptors_count;
    uint8_t code;
};

static enum mb_status count_descriptors(struct mb_types_scan *scan, unsigned depth,
                                        struct constructor *constructor)
{
    struct mb_arena *arena = scan->arena;
    struct mb_value ignored;
    enum mb_status status = MB_OK;

    constructor->descriptors_count = 0;
    scan->arena = NULL;
    while (status == MB_OK && mb_types_left(scan) > 0 && *scan->at == MB_CODE_DESCRIBED) {
        scan->at++;
        if (depth + constructor->descriptors_count >= MB_TYPES_DEPTH_MAX)
            status = MB_REJECTED;
        else
            status = mb_types_scan_value(scan, depth + ++constructor->descriptors_count, &ignored);
    }
    scan->arena = arena;
    if (status != MB_OK || mb_types_left(scan) == 0)
        return MB_REJECTED;
    constructor->code = *scan->at++;
    return MB_OK;
}

static enum mb_status read_constructor(struct mb_types_scan *scan, unsigned depth,
                                       struct constructor *constructor)
{
    const unsigned char *start = scan->at;
    uint32_t bare_count = scan->bare_count;
    enum mb_status status = count_descriptors(scan, depth, constructor);
    const unsigned char *behind = scan->at;

    constructor->descriptors = NULL;
    if (status != MB_OK || scan->arena == NULL || constructor->descriptors_count == 0)
        return status;
    constructor->descriptors = mb_types_new_items(scan, constructor->descriptors_count);
    if (constructor->descriptors == NULL)
        return MB_NO_MEMORY;
    scan->at = start;
    scan->bare_count = bare_count;
    for (unsigned i = 0; i < constructor->descriptors_count && status == MB_OK; i++) {
        scan->at++;
        status = mb_types_scan_value(scan, depth + i + 1, &constructor->descriptors[i]);
    }
    scan->at = behind;
    return status;
}

static enum mb_status read_element(struct mb_types_scan *scan,
                                   const struct constructor *constructor, unsigned depth,
                                   struct mb_value *ret_value)
{
    if (scan->arena != NULL) {
        for (unsigned i = 0; i < constructor->descriptors_count; i++) {
            struct mb_value *parts = mb_types_new_items(scan, 2);

            if (parts == NULL)
                return MB_NO_MEMORY;
            parts[0] = constructor->descriptors[i];
            set_described(ret_value, parts);
            ret_value = &parts[1];
        }
    }
    return mb_types_scan_coded(scan, constructor->code, depth + constructor->descriptors_count,
                               ret_value);
}

/* The described value next to an element's own. */
static struct mb_value *innermost_described(struct mb_value *element, unsigned descriptors_count)
{
    for (unsigned i = 1; i < descriptors_count; i++)
        element = (struct mb_value *)&element->as.items.values[1];
    return element;
}

/* Elements stay of one type: all of them are ours, or none. */
static void make_array_ours(const struct constructor *constructor, struct mb_value *array,
                            struct mb_value *elements)
{
    unsigned depth = constructor->descriptors_count;
    const struct mb_value *descriptor = &constructor->descriptors[depth - 1];
    struct mb_value none[2] = {{.type = MB_U8}, {.type = MB_U32}};
    struct mb_value sample = {.type = mb_types_of_code[constructor->code]};

    for (uint32_t i = 0; i < array->as.items.count; i++) {
        if (!is_ours(innermost_described(&elements[i], depth)))
            return;
    }
    for (uint32_t i = 0; i < array->as.items.count; i++)
        make_ours(innermost_described(&elements[i], depth));
    if (depth > 1)
        return;
    if (sample.type == MB_LIST) {
        sample.as.items.values = none;
        sample.as.items.count = 2;
    }
    if (is_seconds(descriptor, &sample))
        array->as.items.element = MB_TIMESTAMP_S;
    else if (is_scaled(descriptor, &sample))
        array->as.items.element = MB_DECIMAL_SCALED;
}

/* After the elements are read: their type, which is one for all. */
static void finish_array(const struct constructor *constructor, struct mb_value *array,
                         struct mb_value *elements)
{
    bool some_binary = false;

    if (constructor->descriptors_count > 0) {
        array->as.items.element = MB_DESCRIBED;
        make_array_ours(constructor, array, elements);
    }
    if (mb_types_of_code[constructor->code] != MB_STRING)
        return;
    for (uint32_t i = 0; i < array->as.items.count; i++) {
        const struct mb_value *element = &elements[i];

        for (unsigned level = 0; level < constructor->descriptors_count; level++)
            element = &element->as.items.values[1];
        some_binary = some_binary || element->type == MB_BINARY;
    }
    for (uint32_t i = 0; i < array->as.items.count && some_binary; i++) {
        struct mb_value *element = &elements[i];

        for (unsigned level = 0; level < constructor->descriptors_count; level++)
            element = (struct mb_value *)&element->as.items.values[1];
        element->type = MB_BINARY;
    }
    if (some_binary && constructor->descriptors_count == 0)
        array->as.items.element = MB_BINARY;
}

bool mb_types_charge(uint32_t *bare_count, uint32_t count, unsigned descriptors_count, size_t size)
{
    uint64_t items = (uint64_t)count * (1 + 2 * (uint64_t)descriptors_count);
    uint64_t free_items = ITEMS_A_BYTE * (uint64_t)size;

    if (items <= free_items)
        return true;
    if (items - free_items > MB_TYPES_BARE_MAX - *bare_count)
        return false;
    *bare_count += (uint32_t)(items - free_items);
    return true;
}

enum mb_status mb_types_scan_array(struct mb_types_scan *scan, uint32_t count, unsigned depth,
                                   struct mb_value *ret_value)
{
    struct constructor constructor;
    struct mb_value *elements = NULL;
    struct mb_value ignored;
    enum mb_status status = read_constructor(scan, depth, &constructor);

    if (status != MB_OK)
        return status;
    if (mb_types_of_code[constructor.code] == MB_NULL && constructor.code != MB_CODE_NULL)
        return MB_REJECTED;
    if (!mb_types_charge(&scan->bare_count, count, constructor.descriptors_count,
                         mb_types_left(scan)))
        return MB_REJECTED;
    if (constructor.code >> 4 != 4 && count > mb_types_left(scan))
        return MB_REJECTED;
    if (scan->arena != NULL) {
        elements = mb_types_new_items(scan, count);
        if (elements == NULL)
            return MB_NO_MEMORY;
    }
    for (uint32_t i = 0; i < count; i++) {
        status =
            read_element(scan, &constructor, depth, elements != NULL ? &elements[i] : &ignored);
        if (status != MB_OK)
            return status;
    }
    ret_value->as.items.values = elements;
    ret_value->as.items.count = count;
    ret_value->as.items.element = mb_types_of_code[constructor.code];
    if (elements != NULL)
        finish_array(&constructor, ret_value, elements);
    return MB_OK;
}
