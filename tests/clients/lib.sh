# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What the client tests share. A client test runs one program from Debian that uses POSIX AIO,
# first on glibc, then on the library, and shows that the program's AIO calls were bound to the
# library, that the library's own statistics counted the program's requests, that every byte is
# right, and that nothing was left running.
#
#   . "$(dirname "$0")/lib.sh"
#   client_begin NAME "$@"                the arguments are -b BUILD, as every client takes them
#   client_needs PROGRAM...               a visible skip where a program is missing
#   client_open                           for a client that gives up root: moves $work to where
#                                         anybody may come
#   on LIBRARY LABEL COMMAND [ARG...]     LIBRARY: glibc, kernel, pool (an engine) or auto
#   start LIBRARY LABEL COMMAND [ARG...]  the same in the background, until:
#   finish LABEL
#   ok "what holds" COMMAND [ARG...]      counts and prints one assertion
#   bound LABEL SYMBOL...                 an assertion about the last run called LABEL
#   counted LABEL REGEX                   prints what the library counted in all its processes
#   ratios WHAT                           prints the times in $took of each library, and how many
#                                         times glibc's is the library's
#   client_end                            prints the totals and ends
#
# Everything that a client writes goes to BUILD/clients/NAME ($work), kept if something failed. Of
# the run called LABEL it has, in $work/LABEL: out (its output), ld.PID (what the dynamic linker
# bound in each program), stats.PID (the library's statistics of each process).
#
# Exit status: 0 all well, 1 something failed, 77 skipped (1 when CHECK_ALL=1 is set).

set -u
export LC_ALL=C
# shellcheck source=../assert.sh
. "$(dirname "${BASH_SOURCE[0]}")/../assert.sh"

# The engines, one after the other, behind glibc: the order in which results are compared.
readonly engines="kernel pool"
export engines

client_begin()
{
    client=$1
    shift
    local build=.
    while [ $# -gt 0 ]; do
        case $1 in
        -b) build=$2; shift 2 ;;
        *) say "usage: $0 [-b BUILD]" >&2; exit 2 ;;
        esac
    done
    build=$(cd "$build" && pwd) || exit 1
    preload=$build/.libs/libposix-aio.so.1
    stat_program=$build/posix-aio
    for needed in "$preload" "$stat_program"; do
        [ -e "$needed" ] && continue
        say "$client: $needed is missing: build it first, or name the build directory with -b" >&2
        exit 1
    done
    work=$build/clients/$client
    rm -rf "${work:?}"
    mkdir -p "$work"
    trap client_stop EXIT
}

client_skip()
{
    say "$client: SKIPPED, $*"
    trap - EXIT
    [ "${CHECK_ALL:-0}" = 1 ] && exit 1
    exit 77
}

client_needs()
{
    local program
    for program; do
        command -v "$program" > /dev/null || client_skip "there is no $program: tests/clients/install installs it"
    done
}

client_open()
{
    rm -rf "${work:?}"
    work=$(mktemp -d) || exit 1
    chmod 755 "$work"
}

# Nothing of a client outlives its test, however the test ends.
client_stop()
{
    local library
    for library in "$work"/*/library; do
        [ -e "$library" ] && kill_processes "$(basename "${library%/library}")"
    done
    :
}

client_end()
{
    say "$client: $passed passed, $failed failed"
    if [ "$failed" = 0 ]; then
        rm -rf "${work:?}"
        exit 0
    fi
    say "$client: what it left is in $work" >&2
    exit 1
}

# Processes started for LABEL, whoever their parent is now. Daemons leave the session that the run
# was given, and keep its environment; some programs (stress-ng, to show what they do in ps) write
# over the environment that can be seen, and stay in the session.
processes()
{
    {
        grep -lszx "POSIX_AIO_CLIENT=$client-$1-$$" /proc/[0-9]*/environ | sed 's/[^0-9]//g'
        [ -e "$work/$1/session" ] && pgrep -s "$(cat "$work/$1/session")"
    } | sort -u
}

kill_processes()
{
    local id
    for id in $(processes "$1"); do
        kill -KILL "$id" 2> /dev/null
    done
}

# Prints where every thread of every process of LABEL stands: all there is to see of a hang.
describe_processes()
{
    local id thread
    for id in $(processes "$1"); do
        for thread in /proc/"$id"/task/*; do
            say "    $(cat "$thread/comm") ${thread#/proc/}: $(cat "$thread/wchan") syscall $(cut -d' ' -f1-3 "$thread/syscall")"
        done
    done 2> /dev/null
}

nothing_runs()
{
    local tries
    for ((tries = 0; tries < 30; tries++)); do
        [ -z "$(processes "$1")" ] && return 0
        sleep 0.1
    done
    describe_processes "$1"
    kill_processes "$1"
    return 1
}

# Environment of a program under LIBRARY ($1) for LABEL ($2), in the array "environment". The
# dynamic linker reports what it binds, to what, in a file for each program that is started; a
# forked worker reports into its parent's. The runs on glibc have all of it but the library.
set_environment()
{
    environment=("POSIX_AIO_CLIENT=$client-$2-$$" LD_DEBUG=bindings "LD_DEBUG_OUTPUT=$work/$2/ld")
    if [ "$1" != glibc ]; then
        environment+=("LD_PRELOAD=$preload" "LIBPOSIX_AIO_ENGINE=$1" "LIBPOSIX_AIO_STATS=$work/$2/stats.%p")
    fi
}

# Starts COMMAND on LIBRARY under the name LABEL, and leaves it running: $child is its process.
start()
{
    local library=$1 label=$2
    shift 2
    declare -ga environment
    set_environment "$library" "$label"
    mkdir "$work/$label" || exit 1
    # A server that has given up root writes its statistics there too.
    chmod 1777 "$work/$label"
    say "$library" > "$work/$label/library"
    say "$EPOCHREALTIME" > "$work/$label/started"
    setsid env "${environment[@]}" "$@" > "$work/$label/out" 2>&1 < /dev/null &
    child=$!
    say $child > "$work/$label/session"
}

# Waits for the end of LABEL, not longer than $limit seconds, and asserts that it ended with
# $expected_status (0 unless set). Leaves its exit status in $status, its time in $seconds.
limit=60
finish()
{
    local label=$1 process
    process=$(cat "$work/$label/session")
    if timeout "$limit" tail -s 0.05 --pid="$process" -f /dev/null; then
        wait "$process"
        status=$?
    else
        status=124
        say "  $label: no end after $limit seconds"
        describe_processes "$label"
        kill_processes "$label"
        wait "$process" 2> /dev/null
    fi
    seconds=$(awk "BEGIN { printf \"%.2f\", $EPOCHREALTIME - $(cat "$work/$label/started") }")
    ok "$label: ends with status ${expected_status:-0}" [ "$status" = "${expected_status:-0}" ] || tail -n 5 "$work/$label/out"
    ok "$label: nothing left running" nothing_runs "$label"
}

# Runs COMMAND on LIBRARY under the name LABEL.
on()
{
    start "$@"
    finish "$2"
}

# All of SYMBOL... were bound, to the library under test and to nothing else.
all_bound()
{
    local label=$1 file=libposix-aio.so.1 symbol elsewhere
    shift
    [ "$(cat "$work/$label/library")" = glibc ] && file=libc.so.6
    for symbol; do
        grep -qsE "to [^ ]*/$file \[0\]: normal symbol \`$symbol'" "$work/$label"/ld.* && continue
        say "  $label: $symbol was not bound to $file"
        return 1
    done
    # The library itself may ask glibc for anything; the program may not.
    elsewhere=$(cat "$work/$label"/ld.* | grep -E "normal symbol \`(aio_|lio_)" |
        grep -vE "binding file [^ ]*/libposix-aio\.so\.1 " | grep -v "to [^ ]*/$file " | head -n 1)
    [ -z "$elsewhere" ] || { say "  $elsewhere"; return 1; }
}

bound()
{
    local label=$1
    shift
    ok "$label: $* bound to $([ "$(cat "$work/$label/library")" = glibc ] && echo glibc || echo the library)" all_bound "$label" "$@"
}

# Prints the sum, over all processes of LABEL, of the counters whose names match REGEX.
counted()
{
    local file
    for file in "$work/$1"/stats.*; do
        [ -e "$file" ] && "$stat_program" stat "$file"
    done | awk -v re="^($2)\$" '$1 ~ re { sum += $2 } END { print sum + 0 }'
}

# Prints the greatest value, over all processes of LABEL, of the statistic NAME.
greatest()
{
    local file
    for file in "$work/$1"/stats.*; do
        [ -e "$file" ] && "$stat_program" stat "$file"
    done | awk -v name="$2" '$1 == name && $2 > max { max = $2 } END { print max + 0 }'
}

# Prints the times of WHAT, in the associative array "took", seconds by library, and what glibc's
# time divided by each engine's is.
ratios()
{
    local engine line="  $1: glibc ${took[glibc]} s"
    for engine in $engines; do
        line+=", $engine ${took[$engine]} s ($(awk "BEGIN { printf \"%.2f\", ${took[glibc]} / ${took[$engine]} }") times as fast)"
    done
    say "$line"
}

# Requests of an operation, by whichever way they went.
readonly reads='read[.](inline|kernel|pool|stream|waiter)' writes='write[.](inline|kernel|pool|stream|waiter)' \
    syncs='fsync[.](inline|kernel|pool|stream|waiter)'
export reads writes syncs

# Every process of LABEL that has statistics ran on ENGINE.
ran_on()
{
    local file engine any=no
    for file in "$work/$1"/stats.*; do
        [ -e "$file" ] || continue
        engine=$("$stat_program" stat "$file" | awk '$1 == "engine" { print $2 }')
        [ "$engine" = "$2" ] || { say "  $1: $file says engine $engine"; return 1; }
        any=yes
    done
    [ $any = yes ]
}


# The file $1 holds $2 numbers of 64 bits, each its own index.
numbers_right()
{
    perl -we '
        my ($name, $numbers, $next) = (@ARGV, 0);
        open my $file, "<:raw", $name or die "$name: $!\n";
        while (read $file, my $bytes, 65536) {
            for (unpack "Q<*", $bytes) {
                if ($_ != $next) { print "  place $next has $_\n"; exit 1 }
                $next++;
            }
        }
        if ($next != $numbers) { print "  $next numbers, not $numbers\n"; exit 1 }
    ' "$1" "$2"
}
