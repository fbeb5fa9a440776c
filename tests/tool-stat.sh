#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# posix-aio stat: of a file, of a process, once and again and again.

# shellcheck disable=SC2016 # awk's programs
set -eu
# shellcheck source=tests/shell.sh
. "${0%/*}/shell.sh"

tool=${T_TOOL:?} library=${T_LIBRARY:?} requester=${T_PROGRAMS:?}/requester
head -c 8192 /dev/zero >"$work/data"

# shellcheck disable=SC2329 # called through ok
ended() { [ "$status" = "$1" ] && { [ $# = 1 ] || says "$work/err" "$2"; }; }

# begin [ENV=VALUE...] [COMMAND...]: a requester behind them, $process; it is told what to do by
# ask, and ends by finish
begin() {
    coproc R { exec env "LD_PRELOAD=$library" "$@" "$requester" read "$work/data"; }
    # shellcheck disable=SC2153
    process=$R_PID
    exec {to}>&"${R[1]}" {from}<&"${R[0]}"
}
ask() {
    local answer
    echo "$1" >&"$to"
    read -r -t 60 answer <&"$from" && [ "$answer" = "done" ]
}
finish() {
    exec {to}>&- {from}<&-
    eval "exec ${R[1]}>&-" 2>/dev/null || :
    wait "$process" 2>/dev/null || :
}
# shellcheck disable=SC2329 # called through ok
value() { [ "$(awk -v name="$1" '$1 == name { print $2 }' "$work/out")" = "$2" ]; }

of_a_file() {
    begin "LIBPOSIX_AIO_STATS=$work/stats"
    ask 7
    try "$tool" stat "$work/stats"
    ok "a running process's file can be read" ended 0
    ok "it says which process" value pid "$process"
    ok "the requests are there" value read.inline 7
    ok "and every statistic" [ "$(wc -l <"$work/out")" -ge 32 ]
    try "$tool" stat "$process"
    ok "the process leads to the same file" value read.inline 7
    finish
    try "$tool" stat "$work/stats"
    ok "the file stays when the process has ended" value read.inline 7
    try "$tool" stat "$process"
    ok "the process does not" ended 1 "there is no process $process"
    try "$tool" stat -- "$work/stats"
    ok "-- may stand before it" value read.inline 7
}

of_a_process() {
    begin "LIBPOSIX_AIO_STATS=$work/gone"
    ask 3
    cp "$work/stats" "$work/other" && mv "$work/other" "$work/gone"
    if [ "$(id -u)" = 0 ]; then
        try "$tool" stat "$process"
        ok "a process's file is found when another has its name" value read.inline 3
        rm "$work/gone"
        try "$tool" stat "$process"
        ok "and when it has been removed" value read.inline 3
        try setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all cat "/proc/$process/maps"
        ok "another user may not look" ended 1
        open=$(mktemp -d) && chmod 755 "$open" && cp "$tool" "$open"
        try setpriv --reuid=65534 --regid=65534 --clear-groups "$open/${tool##*/}" stat "$process"
        ok "and is told so" ended 1 "may not be looked into: Permission denied"
        rm -rf "$open"
    else
        skip "files without their names, other users" "only root can try them"
    fi
    finish
    if unshare --pid --fork --mount-proc true 2>/dev/null; then
        begin "LIBPOSIX_AIO_STATS=$work/inner" unshare --pid --fork --mount-proc
        ask 5
        try "$tool" stat "$(tr -d ' ' <"/proc/$process/task/$process/children")"
        ok "a process in a namespace of its own" value read.inline 5
        finish
    else
        skip "a process in a namespace of its own" "none can be made"
    fi
}

of_nothing() {
    try "$tool" stat "$work/nothing"
    ok "no file" ended 1 "nothing: No such file or directory"
    try "$tool" stat "$work/data"
    ok "another file" ended 1 "not a statistics file of this version"
    mkfifo "$work/fifo"
    try timeout 20 "$tool" stat "$work/fifo"
    ok "a FIFO does not block" ended 1 "not a statistics file of this version"
    truncate -s "$(stat -c %s "$work/stats")" "$work/zeros"
    try "$tool" stat "$work/zeros"
    ok "a file of the right size" ended 1 "not a statistics file of this version"
    cp "$work/stats" "$work/cut"
    timeout 60 "$tool" stat "$work/cut" 0.05 >"$work/out" 2>"$work/err" &
    until [ -s "$work/out" ] || ! kill -0 $!; do sleep 0.02; done
    : >"$work/cut"
    status=0
    wait $! || status=$?
    ok "a file that is cut short meanwhile" ended 1 "was cut short"
    try "$tool" stat $$
    ok "a process without the library" ended 1 "does not have libposix-aio loaded"
    begin
    ask 1
    try "$tool" stat "$process"
    ok "a process that keeps none is told how to" ended 1 'start it by "posix-aio run --stats"'
    finish
    begin "LIBPOSIX_AIO_STATS=$work/never"
    ask 0
    try "$tool" stat "$process"
    ok "a process that has not begun" ended 1 "it has submitted no request"
    finish
}

misused() {
    try "$tool" stat
    ok "no argument" ended 2 "PID or FILE"
    try "$tool" stat "$work/stats" 1 1 1
    ok "too many" ended 2 "PID or FILE"
    for wrong in 0 -1 x 1x "" inf nan 1e300; do
        try "$tool" stat "$work/stats" "$wrong"
        ok "the interval \"$wrong\"" ended 2 "is no interval: seconds, from 0.001 to 1000000"
    done
    for wrong in 0 -1 x 1.5 ""; do
        try "$tool" stat "$work/stats" 1 "$wrong"
        ok "the count \"$wrong\"" ended 2 "is no count"
    done
    try "$tool" stat --all "$work/stats"
    ok "an option" ended 2 "no option --all"
    if [ -w /dev/full ]; then
        status=0
        "$tool" stat "$work/stats" >/dev/full 2>"$work/err" || status=$?
        ok "an output that cannot be written" ended 1 "cannot write the output"
    fi
}

# A thousand reads while "stat" is watching, in rows.
watch_a_thousand() {
    local rows before
    begin "LIBPOSIX_AIO_STATS=$work/rates"
    ask 1
    "$tool" stat "$process" 0.5 >"$work/rows" 2>"$work/err" &
    rows=$!
    until [ "$(wc -l <"$work/rows")" -ge 2 ]; do sleep 0.01; done
    ask 1000
    before=$(wc -l <"$work/rows")
    until [ "$(wc -l <"$work/rows")" -ge $((before + 2)) ]; do sleep 0.01; done
    finish
    status=0
    wait $rows || status=$?
    cp "$work/rows" "$work/out"
}

rates_add_up() {
    awk 'NR > 1 { if (NR > 2) n += last / 2; last = $1 } END { exit !(n > 900 && n < 1100) }' "$work/rows"
}

# Rows of rates: what they add up to is what was done between the first and the last.
again_and_again() {
    begin "LIBPOSIX_AIO_STATS=$work/rates"
    ask 5000
    try "$tool" stat "$process" 0.05 3
    ok "COUNT rows and a heading" [ "$(wc -l <"$work/out")" = 4 ]
    ok "what was before does not count" [ "$(awk 'NR > 1 { n += $1 } END { print n + 0 }' "$work/out")" = 0 ]
    finish
    # Each row is of half a second, unless the machine was late with it: then another attempt.
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        watch_a_thousand
        rates_add_up && break
    done
    ok "the rates add up to the requests" rates_add_up
    ok "it ends with the process" ended 0 "process $process has ended"
    ok "their way is told" awk 'NR > 1 && $1 != $4 { bad = 1 } END { exit bad }' "$work/rows"
    ok "latencies are those of the interval" awk '
        NR > 1 && (($1 > 0) != ($10 > 0) || ($1 > 0) != ($11 > 0) || $11 < $10) { bad = 1 }
        END { exit bad }' "$work/rows"
    ok "other operations have none" awk 'NR > 1 && ($2 + $3 + $12 + $13) { bad = 1 } END { exit bad }' "$work/rows"
    try "$tool" stat "$work/rates" 0.01 25
    ok "the heading comes again" [ "$(grep -c read/s "$work/out")" = 2 ]
}

of_a_file
of_a_process
of_nothing
misused
again_and_again
shell_end
