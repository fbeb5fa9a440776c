# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What the tests written in bash share. They run in a directory of their own, $work, and end by
# shell_end, which prints the totals.
#
#   ok "what holds" COMMAND [ARG...]    one assertion: COMMAND succeeds
#   skip "what" WHY                     one that cannot be tried here. A failure where
#                                       T_REQUIRE_ENGINES=1 asks for all of them, as scripts/check does
#   try COMMAND [ARG...]                runs it: $status, and its words in $work/out and $work/err
#   says FILE TEXT                      does the file have the text?

export LC_ALL=C
# A sanitizer's runtime wants to come first; a preloaded library has it behind the program.
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}verify_asan_link_order=0"
unset LIBPOSIX_AIO_ENGINE LIBPOSIX_AIO_ORDER LIBPOSIX_AIO_STATS LD_PRELOAD

# shellcheck disable=SC2034 # status: for those who read this file
passed=0 failed=0 skipped=0 status=0
work=$(mktemp -d "$PWD/${0##*/}.XXXXXX")
trap 'rm -rf "$work"' EXIT

ok() {
    local what=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
        echo "ok: $what"
    else
        failed=$((failed + 1))
        echo "FAILED: $what: $*"
        sed 's/^/    out: /' "$work/out" 2>/dev/null | tail -n 25
        sed 's/^/    err: /' "$work/err" 2>/dev/null | tail -n 5
    fi
}

skip() {
    if [ "${T_REQUIRE_ENGINES:-0}" = 1 ]; then
        failed=$((failed + 1))
        echo "FAILED: $1: cannot be tried: $2"
    else
        skipped=$((skipped + 1))
        echo "SKIP: $1: $2"
    fi
}

try() {
    status=0
    # shellcheck disable=SC2034
    "$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
}

says() { grep -qF -e "$2" "$1"; }

silent() { [ ! -s "$1" ]; }

shell_end() {
    echo "$passed passed, $failed failed, $skipped skipped"
    [ $failed = 0 ]
}
