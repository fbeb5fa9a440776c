#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What bash offers after "posix-aio": the completion is loaded as it is, and asked as readline would.

set -eu
# shellcheck source=tests/shell.sh
. "${0%/*}/shell.sh"

library=${T_LIBRARY:?} requester=${T_PROGRAMS:?}/requester
# shellcheck source=completions/posix-aio
. "${0%/*}/../completions/posix-aio"
cd "$work"
mkdir -p a-directory bin
: >a-file
printf '#!/bin/sh\n' >bin/a-program-of-ours && chmod +x bin/a-program-of-ours

# offers WORD...: what is offered for the last of them, sorted, in one line
offers() {
    COMP_WORDS=(posix-aio "$@")
    COMP_CWORD=$#
    PATH="$work/bin:$PATH" _posix_aio 2>/dev/null || :
    printf '%s\n' "${COMPREPLY[@]-}" | sort | tr '\n' ' ' | sed 's/ $//'
}

ok "commands" [ "$(offers "")" = "--help --version info run stat" ]
ok "a command begun" [ "$(offers s)" = stat ]
ok "options of run" [ "$(offers run --)" = "-- --engine= --help --library= --order= --quiet --stats --stats=" ]
ok "an option begun" [ "$(offers run --st)" = "--stats --stats=" ]
ok "engines behind =" [ "$(offers run --engine = "")" = "auto kernel pool" ]
ok "engines right behind =" [ "$(offers run --engine =)" = "auto kernel pool" ]
ok "an engine begun" [ "$(offers run --engine = k)" = kernel ]
ok "engines behind a space" [ "$(offers run --engine "")" = "auto kernel pool" ]
ok "orders" [ "$(offers run --order = "")" = "any descriptor" ]
ok "files of statistics" [ "$(offers run --stats = a-)" = "a-directory a-file" ]
ok "libraries" [ "$(offers run --library a-f)" = "a-file" ]
ok "programs" [ "$(offers run a-program)" = a-program-of-ours ]
ok "programs behind options" [ "$(offers run --engine = pool --quiet a-program)" = a-program-of-ours ]
ok "programs behind --stats" [ "$(offers run --stats a-program)" = a-program-of-ours ]
ok "programs behind --" [ "$(offers run -- a-program)" = a-program-of-ours ]
ok "a program's arguments are files" [ "$(offers run some-program a-)" = "a-directory a-file" ]
ok "and not our options" [ "$(offers run some-program --)" = "" ]
ok "files to be told of" [ "$(offers info a-)" = "a-directory a-file" ]
ok "one of them" [ "$(offers info a-file "")" = "" ]
ok "files of statistics to be read" [ "$(offers stat a-f)" = a-file ]
coproc R { exec env "LD_PRELOAD=$library" "$requester" read a-file; }
# shellcheck disable=SC2153
process=$R_PID
echo 0 >&"${R[1]}" && read -r -t 60 answer <&"${R[0]}"
ok "the process has begun" [ "$answer" = "done" ]
ok "processes with the library" grep -qw "$process" <<<"$(offers stat "")"
ok "and no others" [ -z "$(offers stat $$)" ]
eval "exec ${R[1]}>&-"
wait "$process" || :

# With bash-completion a program's own completion is asked for.
# shellcheck disable=SC2329 # called by _posix_aio
_command_offset() { COMPREPLY=("offset-$1"); }
ok "a program's own completion" [ "$(offers run --quiet tar x)" = offset-3 ]
shell_end
