#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The example of docs/backend-guide.md: taken from the page, built against an installed mbridge, run
# through the contract suite, and used by the bridge.
#
#   tests/guide/run.sh BUILD_DIR CC
set -euo pipefail

readonly BUILD=$1 CC=$2
guide=$(dirname "$(readlink -f "$0")")/../../docs/backend-guide.md
scratch=$(mktemp -d "${TMPDIR:-/tmp}/mbridge-guide.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
chmod 755 "$scratch"

step() { printf '== %s\n' "$*"; }

step 'the code of the page'
awk '/^```c$/ { on = 1; next } /^```/ { on = 0 } on' "$guide" >"$scratch/lines.c"

step 'install'
cmake --install "$BUILD" --prefix "$scratch/installed" >"$scratch/install.log" ||
    { cat "$scratch/install.log"; exit 1; }
package=$(find "$scratch/installed" -name mbridge.pc)
# The file names the prefix of the configuration; what counts is where it was installed now.
flags=$(PKG_CONFIG_PATH=$(dirname "$package") pkg-config --define-variable=prefix="$scratch/installed" \
    --cflags mbridge)

step 'build it as the page says'
mkdir "$scratch/modules" "$scratch/folder"
# shellcheck disable=SC2086 # flags are words
"$CC" -std=c11 -D_GNU_SOURCE -Wall -Wextra -Wconversion -Wshadow -Wvla -Werror -O2 -fPIC -shared \
    -fvisibility=hidden -Wl,-z,nodelete $flags -o "$scratch/modules/lines.so" "$scratch/lines.c"
chmod 755 "$scratch/modules" "$scratch/modules/lines.so"
exported=$(nm -D --defined-only "$scratch/modules/lines.so" | awk '{ print $NF }')
[ "$exported" = mbridge_backend ] || { printf 'exported: %s\n' "$exported"; exit 1; }

step 'the contract suite'
"$BUILD/tests/test_contract" --module "$scratch/modules/lines.so" \
    --endpoint folder="$scratch/folder" --source file='{stream}' --sink file='{stream}' \
    --bad-endpoint folder="$scratch/nowhere" --partitions 1

if [ ! -x "$BUILD/bin/mbridge" ]; then
    step 'no program was built: done'
    exit 0
fi

step 'mbridge backends'
"$BUILD/bin/mbridge" backends "$scratch/modules/lines.so" | tee "$scratch/backends.txt"
grep -q 'The folder that holds the files' "$scratch/backends.txt"

step 'mbridge run --drain'
cat >"$scratch/guide.conf" <<CONF
bridge = { name = "guide"; };
endpoints = {
  made  = { backend = "memory"; };
  files = { backend = "$scratch/modules/lines.so"; folder = "$scratch/folder"; };
};
routes = (
  { name = "write";
    from = { endpoint = "made"; generate = { count = 1000; size = 64; }; };
    to   = { endpoint = "files"; file = "out.txt"; }; }
);
CONF
"$BUILD/bin/mbridge" run --drain "$scratch/guide.conf"
lines=$(wc -l <"$scratch/folder/out.txt")
distinct=$(cut -c 1-16 "$scratch/folder/out.txt" | sort -c -u && echo sorted)
if [ "$lines" -ne 1000 ] || [ "$distinct" != sorted ]; then
    printf '%s lines, %s\n' "$lines" "$distinct"
    exit 1
fi

step 'and from file to file'
cat >"$scratch/again.conf" <<CONF
bridge = { name = "guide"; };
endpoints = {
  files = { backend = "$scratch/modules/lines.so"; folder = "$scratch/folder"; };
};
routes = (
  { name = "copy";
    from = { endpoint = "files"; file = "out.txt"; };
    to   = { endpoint = "files"; file = "copy.txt"; }; }
);
CONF
"$BUILD/bin/mbridge" run --drain "$scratch/again.conf"
cmp "$scratch/folder/out.txt" "$scratch/folder/copy.txt"
# What was acknowledged does not come again.
"$BUILD/bin/mbridge" run --drain "$scratch/again.conf"
cmp "$scratch/folder/out.txt" "$scratch/folder/copy.txt"
step 'done'
