# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Assertions of the tests of clients and of packages, which print each and count them in $passed and
# $failed.
#
#   ok "what holds" COMMAND [ARG...]      one assertion: COMMAND succeeds
#   equal FOUND WANTED                    true if they are; says so if not
#   at_least FOUND LEAST                  the same for numbers

# shellcheck disable=SC2034 # for those who read this file
passed=0 failed=0

say() { printf '%s\n' "$*"; }

ok() {
    local what=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
        say "  ok      $what"
    else
        failed=$((failed + 1))
        say "  FAILED  $what"
        return 1
    fi
}

equal() { [ "$1" = "$2" ] || { say "  $1 is not $2"; return 1; }; }
at_least() { [ "$1" -ge "$2" ] || { say "  $1 is less than $2"; return 1; }; }
