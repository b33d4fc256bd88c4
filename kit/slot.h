/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names that come back: a process that was killed and started again is to be the same member of its
 * group as before, while two processes that run at once are to be two. Such a name is made of the
 * host and a slot: a small number that no other live holder on this host has. A slot is held by an
 * abstract Unix socket, so the kernel frees it when the process ends, however it ends, and the next
 * one gets the lowest free number again.
 *
 * "This host" is a network namespace: containers with networks of their own do not exclude each
 * other, and need a host name (or id of the machine) of their own.
 *
 * No state is shared: any thread may call these. Nothing blocks, nothing is allocated.
 */
#ifndef MBRIDGE_KIT_SLOT_H
#define MBRIDGE_KIT_SLOT_H

#include <mbridge/options.h>
#include <mbridge/status.h>
#include <stddef.h>

struct mb_slot {
    int fd; /* -1: none is held. Closed by exec; a child of fork shares the slot */
    unsigned number;
};

/* Longest prefix of mb_slot_take, so that the address has room for the rest. */
#define MB_SLOT_PREFIX_MAX 64u

/*
 * Takes the lowest free slot of 0 … max - 1 among all who give the same prefix and the same parts;
 * the parts are kept apart: ("a", "bc") is not ("ab", "c"). Asks the kernel at most max times.
 *
 * The socket's address is part of the contract, since processes of different versions exclude each
 * other by it: "PREFIX/HASH/NUMBER" after the leading NUL, without one at the end, where HASH is
 * the FNV-1a (64 bit, 16 lower-case hexadecimal digits) over each part and a byte 0xff after it.
 *
 * MB_AGAIN: all are taken. MB_INVALID: the prefix is longer than MB_SLOT_PREFIX_MAX.
 * MB_UNSUPPORTED: there are no such sockets here, or no descriptor is left. After each of these
 * nothing is held and errno says why.
 */
enum mb_status mb_slot_take(const char *prefix, const struct mb_strings *parts, unsigned max,
                            struct mb_slot *ret_slot);

/* Frees it for others. Nothing happens if none is held. */
void mb_slot_release(struct mb_slot *slot);

/* Room for the longest name of a Linux host and what mb_slot_host adds. */
#define MB_SLOT_HOST_SIZE 96u

/* This host by a name that stays: "NAME-ID", ID being the first eight characters of the machine's
 * id, since hosts that were cloned, or containers of one image, may share a name; "NAME" if there
 * is no id or no room for it; "host" for a NAME that is not known or does not fit. Always
 * terminated; size is at least 1. */
void mb_slot_host(char *name, size_t size);

#endif
