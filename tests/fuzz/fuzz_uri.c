/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as a URI: parsed or refused, and its password is in no text that is shown. */
#include "fuzz.h"

#include "kit/uri.h"

size_t mb_fuzz_seed(size_t index, uint8_t *data, size_t size)
{
    static const char *const uris[] = {
        "kafka://a:1,b:2/?acks=all",
        "amqp://user:secret@host:5672/%2f?heartbeat=10&x=%20y",
        "amqps://[::1]:5671/vhost/a%2fb",
        "redis://:p%40ss@localhost/0",
        "redis+unix:///run/redis.sock",
        "a+b-c.d://u:p:q@h:65535/p/a/t/h?a=&b&c=d",
        "x://h/?a=1&a=2#f",
        "amqp:///",
    };
    size_t length;

    if (index >= sizeof uris / sizeof uris[0])
        return MB_FUZZ_NO_SEED;
    length = strlen(uris[index]);
    if (length > size)
        return MB_FUZZ_NO_SEED;
    memcpy(data, uris[index], length);
    return length;
}

/* As written: between the first colon of the user information and its @. */
static void check_redacted(const char *text, const struct mb_uri *uri)
{
    char shown[8192];
    const char *at = strstr(text, "://");
    const char *end;
    char *secret;

    mb_uri_redact(text, shown, sizeof shown);
    if (at == NULL || uri->password == NULL)
        return;
    at += 3;
    end = at + strcspn(at, "/?#");
    while (end > at && *end != '@')
        end--;
    at = memchr(at, ':', (size_t)(end - at));
    if (at == NULL || end - at < 8) /* a short one may be a part of the rest by chance */
        return;
    secret = strndup(at + 1, (size_t)(end - at - 1));
    MB_FUZZ_CHECK(secret != NULL);
    if (strstr(end, secret) == NULL &&
        memmem(text, (size_t)(at - text), secret, strlen(secret)) == NULL)
        MB_FUZZ_CHECK(strstr(shown, secret) == NULL);
    free(secret);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    struct mb_uri uri = {0};
    struct mb_error err;
    enum mb_status status;

    MB_FUZZ_CHECK(text != NULL);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    mb_error_clear(&err);
    status = mb_uri_parse(text, &uri, &err);
    if (status == MB_OK) {
        MB_FUZZ_CHECK(uri.scheme != NULL && uri.scheme[0] != '\0');
        MB_FUZZ_CHECK(uri.port >= 0 && uri.port <= 65535);
        MB_FUZZ_CHECK(uri.query_count <= MB_URI_QUERY_MAX);
        for (size_t i = 0; i < uri.query_count; i++)
            MB_FUZZ_CHECK(uri.query[i].name != NULL && uri.query[i].value != NULL);
        check_redacted(text, &uri);
    } else {
        MB_FUZZ_CHECK(err.text[0] != '\0');
    }
    mb_uri_release(&uri);
    free(text);
    return 0;
}
