/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For the targets of the configuration: the configurations of this tree as a corpus, and a load of
 * one from memory with the backends of this build.
 */
#ifndef TESTS_FUZZ_LOAD_H
#define TESTS_FUZZ_LOAD_H

#include "fuzz.h"

#include "core/config/model.h"
#include "core/runtime/registry.h"

#include <stdbool.h>
#include <sys/mman.h>
#include <unistd.h>

#define FUZZ_CONFIGS_MAX     9u
#define FUZZ_CONFIG_SIZE_MAX 65536u

/* Read once, whatever is made of it. */
static inline size_t fuzz_config_read(size_t index, uint8_t *data, size_t size)
{
    static const char *const names[] = {
        "tests/security/everything.conf",
        "conf/activemq-migration.conf",
        "conf/aggregate.conf",
        "conf/broadcast.conf",
        "conf/kafka-to-rabbitmq.conf",
        "conf/rabbitmq-to-kafka.conf",
        "conf/docker/bridge.conf",
        "conf/shared-aggregate/site-b.conf",
        "conf/two-way/site-a.conf",
    };
    static struct {
        uint8_t data[FUZZ_CONFIG_SIZE_MAX];
        size_t size;
    } texts[sizeof names / sizeof names[0]];

    if (index >= sizeof names / sizeof names[0])
        return MB_FUZZ_NO_SEED;
    if (texts[index].size == 0) {
        char path[4096];
        FILE *file;

        snprintf(path, sizeof path, "%s/%s", MBRIDGE_FUZZ_TREE, names[index]);
        file = fopen(path, "rb");
        if (file == NULL) {
            perror(path);
            exit(1);
        }
        texts[index].size = fread(texts[index].data, 1, FUZZ_CONFIG_SIZE_MAX, file);
        MB_FUZZ_CHECK(texts[index].size > 0 && texts[index].size < FUZZ_CONFIG_SIZE_MAX);
        fclose(file);
    }
    MB_FUZZ_CHECK(texts[index].size <= size);
    memcpy(data, texts[index].data, texts[index].size);
    return texts[index].size;
}

/* The backends beside the program, loaded once. */
static inline struct mb_registry *fuzz_registry(void)
{
    static struct mb_registry *registry;

    if (registry == NULL)
        MB_FUZZ_CHECK(mb_registry_create(&registry) == MB_OK);
    return registry;
}

/* A text that is none has a mistake with a line, or lacks a whole part, which has none. */
static inline void fuzz_check_diagnostics(enum mb_status status,
                                          const struct mb_diagnostics *diagnostics, bool has_lines)
{
    size_t lines = 0;

    MB_FUZZ_CHECK(status == MB_OK || status == MB_INVALID);
    MB_FUZZ_CHECK((status == MB_OK) == (diagnostics->errors == 0));
    for (size_t i = 0; i < diagnostics->count; i++) {
        MB_FUZZ_CHECK(diagnostics->items[i].text != NULL && *diagnostics->items[i].text != '\0');
        lines += diagnostics->items[i].is_error &&
                 (diagnostics->items[i].line > 0 ||
                  strncmp(diagnostics->items[i].text, "there are no ", 13) == 0);
    }
    MB_FUZZ_CHECK(status == MB_OK || !has_lines || lines > 0);
}

/* True: it is a configuration. */
static inline bool fuzz_config_load(const uint8_t *data, size_t size)
{
    static int fd = -1;
    static char path[64];
    struct mb_diagnostics diagnostics;
    struct mb_config *config = NULL;
    enum mb_status status;

    if (fd < 0) {
        fd = memfd_create("mbridge-config", MFD_CLOEXEC);
        MB_FUZZ_CHECK(fd >= 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    MB_FUZZ_CHECK(pwrite(fd, data, size, 0) == (ssize_t)size);
    MB_FUZZ_CHECK(ftruncate(fd, (off_t)size) == 0); /* last: pages that stay are not made again */
    status = mb_config_load(path, fuzz_registry(), &config, &diagnostics);
    MB_FUZZ_CHECK((status == MB_OK) == (config != NULL));
    fuzz_check_diagnostics(status, &diagnostics, size > 0);
    mb_diagnostics_release(&diagnostics);
    mb_config_destroy(config);
    return status == MB_OK;
}

#endif
