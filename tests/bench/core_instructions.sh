#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Instructions a message in the core: core_instructions.sh [BUILD_DIR [MESSAGES]]
# Counts a run of N and one of 2N messages under callgrind and takes the difference, so that the
# start of the bridge does not count. Prints one line of JSON; --profile lists the functions too.
set -euo pipefail

profile=false
if [ "${1:-}" = --profile ]; then
    profile=true
    shift
fi
root=$(cd "$(dirname "$(readlink -f "$0")")/../.." && pwd)
build=${1:-$root/build/release}
messages=${2:-200000}
scratch=$(mktemp -d "${TMPDIR:-/tmp}/mbridge-callgrind.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

count() {
    valgrind --tool=callgrind --callgrind-out-file="$scratch/$1.out" "$build/bench/core_bench" \
        once "$1" >"$scratch/$1.log" 2>&1 || { cat "$scratch/$1.log" >&2; exit 1; }
    awk '/^(summary|totals):/ { total = $2 } END { print total }' "$scratch/$1.out"
}

one=$(count "$messages")
two=$(count $((2 * messages)))
printf '{"messages":%d,"instructions":%.1f}\n' "$messages" \
    "$(awk -v one="$one" -v two="$two" -v n="$messages" 'BEGIN { print (two - one) / n }')"
if $profile; then
    callgrind_annotate --show-percs=yes "$scratch/$((2 * messages)).out" | sed -n '1,50p'
fi
