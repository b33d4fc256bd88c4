/* SPDX-License-Identifier: Apache-2.0 */
#include "kit/types.h"

/* Values are built by readers that stop at MB_TYPES_DEPTH_MAX or sooner. */
#define EQUAL_DEPTH_MAX (2 * MB_TYPES_DEPTH_MAX)

static bool equal(const struct mb_value *a, const struct mb_value *b, unsigned depth)
{
    if (a->type != b->type || depth > EQUAL_DEPTH_MAX)
        return false;
    switch ((enum mb_type)a->type) {
    case MB_NULL:
        return true;
    case MB_BOOL:
        return a->as.b == b->as.b;
    case MB_I8:
    case MB_I16:
    case MB_I32:
    case MB_I64:
    case MB_TIMESTAMP_S:
    case MB_TIMESTAMP_MS:
        return a->as.i == b->as.i;
    case MB_U8:
    case MB_U16:
    case MB_U32:
    case MB_U64:
    case MB_CHAR:
        return a->as.u == b->as.u;
    case MB_F32:
        return memcmp(&a->as.f32, &b->as.f32, sizeof a->as.f32) == 0;
    case MB_F64:
        return memcmp(&a->as.f64, &b->as.f64, sizeof a->as.f64) == 0;
    case MB_DECIMAL_SCALED:
        return a->as.scaled.scale == b->as.scaled.scale && a->as.scaled.value == b->as.scaled.value;
    case MB_DECIMAL32:
    case MB_DECIMAL64:
    case MB_DECIMAL128:
    case MB_UUID:
    case MB_BINARY:
    case MB_STRING:
    case MB_SYMBOL:
        return mb_slice_equal(a->as.bytes, b->as.bytes);
    case MB_ARRAY:
        if (a->as.items.element != b->as.items.element)
            return false;
        break;
    case MB_LIST:
    case MB_MAP:
    case MB_DESCRIBED:
        break;
    }
    if (a->as.items.count != b->as.items.count)
        return false;
    for (uint32_t i = 0; i < a->as.items.count; i++) {
        if (!equal(&a->as.items.values[i], &b->as.items.values[i], depth + 1))
            return false;
    }
    return true;
}

bool mb_value_equal(const struct mb_value *a, const struct mb_value *b)
{
    return equal(a, b, 0);
}
