/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a backend's map costs a message, to count its instructions: a program for each backend, made
 * of map_bench.c and of one file that has these functions.
 */
#ifndef MBRIDGE_TESTS_MAP_BENCH_H
#define MBRIDGE_TESTS_MAP_BENCH_H

#include <kit/carry.h>
#include <mbridge/sink.h>

/* What its sink prepares messages with. */
void map_init(const struct mb_open_params *params, struct mb_carry *carry);

/* The sink's part: item is prepared and encoded. keep: what was written is what map_source reads.
 */
void map_sink(struct mb_carry *carry, const struct mb_outgoing *item, bool keep);

/* The source's part: reads what was kept. */
void map_source(struct mb_arena *arena, struct mb_message *message);

/* Ends the program unless ok. */
void map_need(bool ok, const char *what);

#endif
