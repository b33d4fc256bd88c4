#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Exit statuses and streams of the commands: commands.sh MBRIDGE. Needs the memory backend only.
set -u
mbridge=$1
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
failed=0

# expect STATUS WORD COMMAND…: WORD must be in standard output or error ("" for any).
expect() {
    wanted=$1 word=$2
    shift 2
    "$mbridge" "$@" >"$scratch/out" 2>"$scratch/err" </dev/null
    status=$?
    if [ "$status" -ne "$wanted" ] || ! grep -qF -e "$word" "$scratch/out" "$scratch/err"; then
        printf 'mbridge %s: status %s, expected %s and "%s"\n' "$*" "$status" "$wanted" "$word"
        cat "$scratch/out" "$scratch/err"
        failed=1
    fi
}

cat >"$scratch/good.conf" <<'CONF'
bridge = { name = "t"; drain_idle = "200ms"; };
endpoints = { m = { backend = "memory"; }; };
routes = ( { name = "r"; from = { endpoint = "m"; generate = { count = 5000; }; };
             to = { endpoint = "m"; stream = "out"; }; } );
CONF
sed 's/stream/streem/' "$scratch/good.conf" >"$scratch/bad.conf"

expect 0 'mbridge ' --version
expect 0 'mbridge run' help
expect 0 '--drain' help run
expect 0 '--follow' copy --help
expect 2 'mbridge run'
expect 2 'did you mean "check"?' chek
expect 2 'did you mean "copy"?' help cpoy
expect 2 'one configuration file' run
expect 2 'does not know --drian' run --drian "$scratch/good.conf"
expect 2 'No such file' run "$scratch/none.conf"
expect 0 '1 route, no errors' check "$scratch/good.conf"
expect 2 'bad.conf:4: unknown key "streem" in to of route "r" (did you mean "stream"?)' \
    check "$scratch/bad.conf"
expect 2 '"line":4,"severity":"error"' check --json "$scratch/bad.conf"
expect 2 'bad.conf:4: ' run "$scratch/bad.conf"
expect 0 'will be created' check --connect "$scratch/good.conf"
expect 0 '"delivered":5000' run --drain "$scratch/good.conf"
expect 0 'memory ' backends
expect 0 'generate.count' backends memory
expect 0 '"name":"memory"' backends --json memory
expect 2 'did you mean "memory"?' backends memroy
expect 0 '3000 messages' copy 'memory://a/x?generate.count=3000' memory://b/y
expect 0 'messages' copy --limit 100 'memory://a/x?generate.count=3000' memory://b/y
expect 2 'FROM: ' copy nowhere memory://b/y
expect 2 'two URLs' copy memory://b/y
expect 2 '--limit takes a number' copy --limit -5 memory://a/x memory://b/y

# The findings of check are results; those of run are not.
"$mbridge" check "$scratch/bad.conf" 2>/dev/null | grep -q streem || failed=1
[ -z "$("$mbridge" run "$scratch/bad.conf" 2>/dev/null)" ] || failed=1

exit "$failed"
