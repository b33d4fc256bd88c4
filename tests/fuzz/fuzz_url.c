/* SPDX-License-Identifier: Apache-2.0 */
/* Any two texts, a line each, as the URLs of `copy`: one route, or a reason; and no text that is
 * shown has the password in it. */
#include "fuzz_load.h"

#define CANARY "c4nary-9b1f"

size_t mb_fuzz_seed(size_t index, uint8_t *data, size_t size)
{
    static const char *const urls[] = {
        "kafka://a:1,b:2/orders?group=g\namqp://u:" CANARY "@host:5672/%2f?queue=q",
        "amqps://u:" CANARY "@h/v?queue=q&prefetch=10\nredis://:" CANARY "@h:6379/3?stream=s",
        "amqp10://u:" CANARY "@h:5672/a\nkafka://h/t?sasl.password=" CANARY "&sasl.mechanism=PLAIN",
        "memory:///here?stream=a\nmemory:///there?stream=b",
        "redis://:" CANARY "@h/x?password=" CANARY "\namqp://u:" CANARY "/@h?uri=amqp://a:" CANARY
        "@b",
    };
    size_t length;

    if (index >= sizeof urls / sizeof urls[0])
        return MB_FUZZ_NO_SEED;
    length = strlen(urls[index]);
    MB_FUZZ_CHECK(length <= size);
    memcpy(data, urls[index], length);
    return length;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *from = strndup((const char *)data, size);
    struct mb_diagnostics diagnostics;
    struct mb_config *config = NULL;
    enum mb_status status;
    char *to;

    MB_FUZZ_CHECK(from != NULL);
    to = strchr(from, '\n');
    if (to != NULL)
        *to++ = '\0';
    status =
        mb_config_from_urls(from, to != NULL ? to : "", fuzz_registry(), &config, &diagnostics);
    MB_FUZZ_CHECK((status == MB_OK) == (config != NULL));
    fuzz_check_diagnostics(status, &diagnostics, false);
    mb_diagnostics_release(&diagnostics);
    mb_config_destroy(config);
    free(from);
    return 0;
}
