/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as the template of a name: refused with a reason, or rendered for a message of any kind
 * into a name of a bounded size without a NUL, or the message is refused with a reason. */
#include "fuzz.h"
#include "generate.h"

#include "core/router/names.h"

#include <kit/scratch.h>

static struct mb_scratch scratch;

size_t mb_fuzz_seed(size_t index, uint8_t *data, size_t size)
{
    static const char *const templates[] = {
        "orders",
        "${stream}.${endpoint}.${key}.${partition}.${routing_key}.${subject}",
        "${match.0}${match.9}",
        "${header.kind}-${header.kind:-none}",
        "${header.a.b:-${x}}",
        "$${stream}$$ $ {stream} ${",
        "${header.:-}${match.10}${match.}${strem}",
    };
    size_t length;

    if (index >= sizeof templates / sizeof templates[0])
        return MB_FUZZ_NO_SEED;
    length = strlen(templates[index]);
    MB_FUZZ_CHECK(length < size);
    memcpy(data, templates[index], length + 1);
    return length + 1; /* what follows makes the message */
}

static void check_rendered(const struct mb_template *template, const struct mb_message *message,
                           const struct mb_matches *matches, size_t size)
{
    struct mb_slice name = MB_SLICE_NULL;
    struct mb_error err;
    enum mb_status status;

    mb_error_clear(&err);
    status = mb_template_render(template, message, matches, &scratch.arena, &name, &err);
    MB_FUZZ_CHECK(status == MB_OK || status == MB_REJECTED);
    if (status == MB_OK) {
        MB_FUZZ_CHECK(name.data != NULL && ((const char *)name.data)[name.size] == '\0');
        MB_FUZZ_CHECK(memchr(name.data, '\0', name.size) == NULL);
        MB_FUZZ_CHECK(!mb_template_is_fixed(template) || name.size <= size);
    } else {
        MB_FUZZ_CHECK(err.text[0] != '\0');
        MB_FUZZ_CHECK(!mb_template_is_fixed(template));
    }
    mb_error_clear(&err);
    status = mb_template_render_key(template, message, matches, &scratch.arena, &name, &err);
    MB_FUZZ_CHECK(status == MB_OK || err.text[0] != '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = memchr(data, '\0', size);
    size_t length = end != NULL ? (size_t)(end - data) : size;
    char *text = strndup((const char *)data, length);
    struct mb_origin origin = {.struct_size = sizeof origin,
                               .partition = -1,
                               .endpoint = MB_SLICE_LITERAL("east"),
                               .stream = MB_SLICE_LITERAL("orders")};
    struct mb_template *template = NULL;
    struct mb_matches matches = {0};
    struct generator generator;
    struct mb_message message;
    struct mb_error err;

    MB_FUZZ_CHECK(text != NULL);
    if (scratch.arena.more == NULL)
        mb_scratch_init(&scratch, 64u << 20);
    mb_scratch_reset(&scratch);
    generator_bytes(&generator, data + length, size - length, &scratch);
    generate_message(&generator, &message);
    message.origin = &origin;
    matches.groups[0] = origin.stream;
    mb_error_clear(&err);
    if (mb_template_create(text, &template, &err) == MB_OK)
        check_rendered(template, &message, &matches, length);
    else
        MB_FUZZ_CHECK(template == NULL && err.text[0] != '\0');
    mb_template_destroy(template);
    free(text);
    return 0;
}
