#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The programs of doc/examples do what they say, on the library with each engine, and the same without it.

set -eu
# shellcheck source=tests/shell.sh
. "${0%/*}/shell.sh"

tool=${T_TOOL:?} programs=${T_PROGRAMS:?} sources=${0%/*}/../doc/examples

# counted WHAT NUMBER: so many requests of the kind went through the library
# shellcheck disable=SC2329 # called through ok
counted() {
    [ "$("$tool" stat "$work/stats" | awk -v begin="$1." '
        index($1, begin) == 1 && $1 !~ /latency/ { n += $2 } END { print n + 0 }')" = "$2" ]
}
# shellcheck disable=SC2329 # called through ok
notified() { "$tool" stat "$work/stats" | grep -qx "notify.$1 $2"; }
# shellcheck disable=SC2329 # called through ok
printed() { [ "$status" = 0 ] && [ "$(cat "$work/out")" = "$1" ]; }

# example NAME [ARG...]: runs it, from $directory
example() {
    rm -f "$work/stats"
    LIBPOSIX_AIO_STATS=$work/stats try timeout 120 "$directory$1" "${@:2}"
}

# The sums below are counted by other programs.
head -c 1000000 /dev/urandom >"$work/data"
head -c 300001 /dev/urandom >"$work/other"
sum=$(od -An -v -tu1 "$work/data" | awk '{ for (i = 1; i <= NF; i++) n += $i } END { print n }')
seq -f '%07.0f' 0 9999 | tr -d '\n' >"$work/records"

# all LABEL: each of them; library is yes or no
all() {
    example poll "$work/data"
    ok "$1: poll adds up all bytes" printed "1000000 bytes, sum $sum"
    [ "$library" = no ] || ok "$1: poll reads 16 blocks and the end" counted read 17
    rm -f "$work/copy"
    example suspend "$work/data" "$work/copy"
    ok "$1: suspend copies every byte" cmp -s "$work/data" "$work/copy"
    [ "$library" = no ] || ok "$1: suspend writes 16 blocks" counted write 16
    example signal "$work/data" "$work/other"
    ok "$1: signal counts all lines" printed "$(wc -l <"$work/data") $work/data
$(wc -l <"$work/other") $work/other"
    [ "$library" = no ] || ok "$1: signal gets one for each read" notified signal 23
    example thread "$work/lines" 100000
    ok "$1: thread writes all lines" cmp -s "$work/lines" <(seq -f '%15.0f' 0 99999)
    [ "$library" = no ] || {
        ok "$1: thread syncs them" counted fsync 1
        ok "$1: thread's functions were called" notified thread 26
    }
    example list "$work/records" 7 9999 0 4711
    ok "$1: list finds the records" printed "9999: 0009999
0: 0000000
4711: 0004711"
    [ "$library" = no ] || ok "$1: list reads each once" counted read 3
}

mistakes() {
    for each in poll suspend signal thread list; do
        example "$each" "$work/nothing" 1 1 1
        ok "$each fails where there is no file" [ "$status" != 0 ]
    done
    example poll "$work"
    ok "poll says what is wrong with a directory" says "$work/err" "Is a directory"
    for each in suspend signal; do
        example "$each" "$work" "$work/copy"
        ok "$each says what is wrong with a directory" says "$work/err" "Is a directory"
    done
    example list "$work/records" 7 10000
    ok "list says what is behind the end" says "$work/err" "10000: behind the end of the file"
    ok "and fails" [ "$status" = 1 ]
    example list "$work/records" 7 10000 4711
    ok "and goes on with the others" [ "$(cat "$work/out")" = "4711: 0004711" ]
    for each in 9223372036854775807 4611686018427387904; do
        # A sanitizer's malloc would end the program.
        ASAN_OPTIONS="$ASAN_OPTIONS:allocator_may_return_null=1" TSAN_OPTIONS=allocator_may_return_null=1 \
            example list "$work/records" $each 0
        ok "list says that records of $each bytes do not fit" says "$work/err" "list: records of $each bytes: Cannot allocate memory"
        ok "and fails with status 1" [ "$status" = 1 ]
    done
    for each in 99999999999999999999 18446744073709551615 -1 0 7x ""; do
        example list "$work/records" "$each" 0
        ok "list takes \"$each\" for no size" says "$work/err" "list: \"$each\" is no size"
        ok "and ends with status 2" [ "$status" = 2 ]
    done
    for each in 9223372036854775807 99999999999999999999 -1 x; do
        example list "$work/records" 7 "$each"
        ok "list takes \"$each\" for no record" says "$work/err" "list: \"$each\" is no record"
        ok "and ends with status 2 there" [ "$status" = 2 ]
    done
}

directory=$programs/example- library=yes
for engine in kernel pool; do
    LIBPOSIX_AIO_ENGINE=$engine all "$engine"
done
mistakes
directory=$work/without- library=no
for each in poll suspend signal thread list; do
    ok "$each compiles with nothing but POSIX" "${T_CC:-cc}" -std=c99 -D_POSIX_C_SOURCE=200809L \
        -Wall -Wextra -Werror -pthread -o "$work/without-$each" "$sources/$each.c"
done
all "C library"
mistakes
shell_end
