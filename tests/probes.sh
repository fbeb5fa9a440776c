#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The USDT probes: they are in the library as documented, or not at all, and who looks in sees
# every request once.

set -eu
# shellcheck source=tests/shell.sh
. "${0%/*}/shell.sh"

plain=${T_PROGRAMS:?}/plain
# A copy, so that nobody else's requests are seen.
library=$work/libposix-aio.so
cp "${T_LIBRARY:?}" "$library"

# PROBE ARGUMENTS of each place, "8 -4 -4 -8 8" being the sizes of the arguments, - for signed
places() {
    readelf -n "$library" | awk '
        $1 == "Provider:" { provider = $2 }
        $1 == "Name:" { name = $2 }
        $1 == "Arguments:" && provider == "libposix_aio" {
            line = name
            for (i = 2; i <= NF; i++) { split($i, a, "@"); line = line " " a[1] }
            print line
        }' | sort -u
}

# watch SCRIPT: bpftrace with it, $watcher, its words in $work/seen, once it has attached
watch() {
    rm -f "$work/seen"
    # What comes by -o is buffered to the end.
    timeout 120 bpftrace -B line -e "BEGIN { printf(\"ready\n\"); } $1" >"$work/seen" 2>"$work/err" &
    watcher=$!
    until grep -qs ready "$work/seen"; do
        kill -0 $watcher 2>/dev/null || return 1
        sleep 0.05
    done
}
unwatch() {
    kill "$watcher"
    wait "$watcher" || :
    cp "$work/seen" "$work/out"
}
# shellcheck disable=SC2329 # called through ok
seen() { grep -qxF -e "$1" "$work/seen"; }

# The 31 reads of plain (one is canceled), 20 writes and one fsync.
by_bpftrace() {
    if ! command -v bpftrace >/dev/null; then
        skip "who looks in" "there is no bpftrace"
        return 0
    fi
    if ! watch ""; then
        skip "who looks in" "bpftrace does not work here: $(tail -n 1 "$work/err")"
        return 0
    fi
    unwatch
    watch "usdt:$library:libposix_aio:submit {
            @submitted[arg1] = count(); @begun[arg0] = nsecs; @offsets = max(arg3); @length = sum(arg4);
        }
        usdt:$library:libposix_aio:complete /@begun[arg0]/ {
            @completed[arg1, arg4, arg3] = count(); @slow = count(); delete(@begun[arg0]);
        }" || { ok "bpftrace finds the probes" false; return 0; }
    LIBPOSIX_AIO_ENGINE=pool LIBPOSIX_AIO_STATS="$work/stats" LD_PRELOAD=$library "$plain" exit
    unwatch
    ok "every read is submitted" seen "@submitted[0]: 31"
    ok "every write" seen "@submitted[1]: 20"
    ok "every fsync" seen "@submitted[2]: 1"
    ok "reads complete inline, with their length" seen "@completed[0, 0, 4096]: 30"
    ok "writes complete by the pool" seen "@completed[1, 2, 4096]: 20"
    ok "so does the fsync" seen "@completed[2, 2, 0]: 1"
    ok "the canceled one says so" seen "@completed[0, 2, -125]: 1"
    ok "each complete has its submit" seen "@slow: 52"
    ok "and nothing is left over" [ "$(grep -c '^@begun' "$work/seen")" = 0 ]
}

if [ "${T_PROBES:?}" = yes ]; then
    ok "the probes are there, with one set of types each" \
        [ "$(places)" = "complete 8 -4 -4 -8 -4
submit 8 -4 -4 -8 8" ]
    ok "none has a semaphore" [ "$(readelf -nW "$library" | grep -c 'Semaphore: 0x0*[1-9a-f]')" = 0 ]
    by_bpftrace
else
    ok "there are none where configure was told so" [ -z "$(places)" ]
fi
shell_end
