/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of `mbridge dlq`. */
#ifndef MBRIDGE_CLI_DLQ_H
#define MBRIDGE_CLI_DLQ_H

#include "cli/service.h"
#include "core/router/replay.h"

struct cli_dlq {
    const char *path;
    const char *which; /* show: a number or a position */
    const char *since; /* as written */
    struct mb_replay_filter filter;
    uint64_t limit; /* 0: none */
    bool json;
    bool dry_run;
};

/* A dead letter as it was read: dead is what its headers say, message still has them. */
struct cli_dead_letter {
    uint64_t number; /* in the order of reading, from 1 on */
    const struct mb_message *message;
    struct mb_dead_info dead;
};

/* One line of text or JSON. */
void cli_dlq_line(struct mb_text *text, const struct cli_dead_letter *letter, bool as_json);

/* All of it: what it says of its death, and the original message. */
void cli_dlq_whole(struct mb_text *text, const struct cli_dead_letter *letter,
                   const struct mb_message *original, bool as_json);

/* What a replay did, as its last word on standard output; code, or what became of it. */
int cli_dlq_summary(const struct cli_dlq *dlq, const struct mb_bridge_progress *now, int code);

/* Runs the replay of that route of the configuration, which it takes over. The exit status. */
int cli_dlq_replay(const struct cli_dlq *dlq, struct cli_service *service, struct mb_config *config,
                   size_t route);

/* The group in which a replay of that route with that filter goes on; to be freed. */
char *cli_dlq_group(const struct cli_dlq *dlq, const struct mb_config *config, size_t route);

#endif
