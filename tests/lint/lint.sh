#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The rules of the house that no compiler holds.
#
#   tests/lint/lint.sh [MODULE.so...]
#
# Checks the sources, and of each module that it exports exactly one symbol. Exits 1 if a rule is
# broken; what is only a sign to look again is printed as a warning.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."

readonly LINES_MAX=600
readonly SYMBOL=mbridge_backend
# Platforms and their libraries, as words or parts of words.
readonly PLATFORMS='kafka|amqp|rabbit|redis|rdkafka|hiredis|qpid|proton|artemis|activemq'
readonly LIBRARIES='rd_kafka_|amqp_[a-z_]+_t|redisContext|pn_[a-z_]+_t'
# Headers of the platforms' libraries, by what an #include would name.
readonly LIBRARY_HEADERS='librdkafka|rabbitmq-c|amqp(_[a-z_]+)?\.h|hiredis|proton|libconfig|openssl'

broken=0

complain() {
    printf '%s\n' "$*"
    broken=1
}

# sources FOLDER...: C sources and headers that are there. A file stands for itself.
sources() {
    local folder
    for folder in "$@"; do
        [ ! -e "$folder" ] || find "$folder" -name '*.[ch]' -type f
    done | sort
}

# forbid WHY PATTERN FOLDER...: no line may match (extended regular expression, any case).
forbid() {
    local why=$1 pattern=$2 found
    shift 2
    found=$(sources "$@" | xargs -r grep -HnEi -e "$pattern" || true)
    [ -z "$found" ] || complain "$why:"$'\n'"$found"
}

# may_include FOLDER PATTERN: every #include "…" of FOLDER, and every <mbridge/…>, matches PATTERN.
may_include() {
    local folder=$1 allowed=$2 found
    found=$(sources "$folder" |
        xargs -r grep -HnE '^[[:space:]]*#[[:space:]]*include[[:space:]]+("|<mbridge/)' |
        grep -vE "#[[:space:]]*include[[:space:]]+($allowed)" || true)
    [ -z "$found" ] || complain "$folder/ includes what it may not:"$'\n'"$found"
}

check_includes() {
    local backend name
    may_include include '<mbridge/'
    may_include kit '<mbridge/|"kit/'
    may_include core '<mbridge/|"kit/|"core/'
    may_include cli '<mbridge/|"kit/|"core/|"cli/|"[a-z0-9_]+\.h"'
    for backend in backends/*/; do
        [ -d "$backend" ] || continue
        backend=${backend%/}
        name=${backend##*/}
        # Its own headers, by name alone; those of another backend have another prefix.
        may_include "$backend" "<mbridge/|\"kit/|\"(${name}|${name%%[0-9]*})(_[a-z0-9_]+)?\.h\""
    done
}

check_names() {
    local kit
    forbid 'core/ names a platform' "$PLATFORMS" core
    forbid 'include/ names a type of a library' "$LIBRARIES" include
    forbid 'kit/ names a type of a library' "$LIBRARIES" kit
    forbid 'include/ needs a library' "#[[:space:]]*include[[:space:]]+<($LIBRARY_HEADERS)" include
    forbid 'kit/ needs a library' \
        "#[[:space:]]*include[[:space:]]+<(${LIBRARY_HEADERS%|openssl})" kit
    # The one file that may is a library of its own, and its header needs none.
    mapfile -t kit < <(sources kit | grep -vx 'kit/tls_context\.c')
    forbid 'kit/ needs OpenSSL' '#[[:space:]]*include[[:space:]]+<openssl' "${kit[@]}"
}

check_text() {
    local file lines first
    forbid 'what is to be done belongs in an issue' '\b(TODO|FIXME|XXX)\b' \
        include kit core cli backends tests
    while read -r file; do
        IFS= read -r first <"$file" || true
        [[ $first == *'SPDX-License-Identifier: Apache-2.0'* ]] ||
            complain "$file: its first line names no licence"
        lines=$(wc -l <"$file")
        [ "$lines" -le "$LINES_MAX" ] ||
            printf 'warning: %s has %d lines, more than %d\n' "$file" "$lines" "$LINES_MAX"
    done < <(sources include kit core cli backends tests)
}

check_module() {
    local exported
    if ! exported=$(nm -D --defined-only "$1" | awk '{ print $NF }' | sort); then
        complain "$1: cannot be read"
    elif [ "$exported" != "$SYMBOL" ]; then
        complain "$1 exports other than $SYMBOL:"$'\n'"$exported"
    fi
}

check_includes
check_names
check_text
for module in "$@"; do
    check_module "$module"
done
[ "$broken" -eq 0 ] || exit 1
