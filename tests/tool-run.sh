#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# posix-aio run: what the program gets, the exit statuses, and what cannot be put on the library.

set -eu
# shellcheck source=tests/shell.sh
. "${0%/*}/shell.sh"

tool=${T_TOOL:?} library=${T_LIBRARY:?} plain=${T_PROGRAMS:?}/plain
# Installed, the library is found by itself; here it is not.
on() { try "$tool" run "--library=$library" "$@"; }

# value STATISTIC FILE
value() { "$tool" stat "$2" | awk -v name="$1" '$1 == name { print $2 }'; }
# sum BEGINNING FILE: over the ways of an operation
sum() { "$tool" stat "$2" | awk -v begin="$1" 'index($1, begin) == 1 && $1 !~ /latency/ { n += $2 } END { print n + 0 }'; }

# shellcheck disable=SC2329 # called through ok
ended() { [ "$status" = "$1" ] && { [ $# = 1 ] || says "$work/err" "$2"; }; }
# shellcheck disable=SC2329 # called through ok
printed() { [ "$status" = 0 ] && [ "$(cat "$work/out")" = "$1" ]; }

programs_run_on_the_library() {
    on "--stats=$work/stats" "$plain" exit
    ok "a program runs on the library" ended 0
    ok "without a warning" silent "$work/err"
    ok "its reads were counted" [ "$(sum read. "$work/stats")" = 30 ]
    ok "its writes were counted" [ "$(sum write. "$work/stats")" = 20 ]
    ok "its fsync was counted" [ "$(sum fsync. "$work/stats")" = 1 ]
    on --engine pool "--stats=$work/stats" -- "$plain" exit
    ok "the engine is the one asked for" [ "$(value engine "$work/stats")" = pool ]
    ok "and the reason is known" says <("$tool" stat "$work/stats") "engine.reason LIBPOSIX_AIO_ENGINE=pool"
    (cd "$work" && on --stats "$plain" exit)
    ok "--stats alone makes a file for the process" [ "$(sum read. "$work"/posix-aio.[0-9]*)" = 30 ]
    mkdir "$work/another"
    (cd "$work" && on --quiet --stats=here sh -c "cd '$work/another' && exec '$plain' exit")
    ok "a relative name means this directory" [ "$(sum read. "$work/here")" = 30 ]
}

the_environment_is_set() {
    # shellcheck disable=SC2016 # for the program's shell
    local show='printf "%s|%s|%s|%s" "$LD_PRELOAD" "$LIBPOSIX_AIO_ENGINE" "$LIBPOSIX_AIO_ORDER" "$LIBPOSIX_AIO_STATS"'

    on --quiet sh -c "$show"
    ok "without options only LD_PRELOAD is set" printed "$library|||"
    on --quiet --engine=kernel --order=descriptor "--stats=$work/y.%p" sh -c "$show"
    ok "options set the variables" printed "$library|kernel|descriptor|$work/y.%p"
    LD_PRELOAD=libm.so.6 LIBPOSIX_AIO_ENGINE=pool LIBPOSIX_AIO_ORDER=descriptor on --quiet sh -c "$show"
    ok "what was preloaded and set stays" printed "$library:libm.so.6|pool|descriptor|"
    LIBPOSIX_AIO_ORDER=descriptor on --quiet --order any sh -c "$show"
    ok "--order=any takes the order back" printed "$library|||"
    # shellcheck disable=SC2016
    on --quiet sh -c 'printf "%s." "$@"' zero --stats -- "a b" ""
    ok "the program's arguments are its own" printed "--stats.--.a b.."
}

statuses_are_those_of_env() {
    on --quiet sh -c 'exit 7'
    ok "the program's status is passed on" ended 7
    # shellcheck disable=SC2016
    on --quiet sh -c 'kill -9 $$'
    ok "so is its signal" ended 137
    on --engine=steam "$plain"
    ok "an unknown engine is our failure" ended 125 'not "steam"'
    on --order=alphabetical "$plain"
    ok "so is an unknown order" ended 125 'not "alphabetical"'
    on --fast "$plain"
    ok "an unknown option" ended 125 "no option --fast"
    on --engine
    ok "a value that is missing" ended 125 "--engine needs a value"
    on --stats= "$plain"
    ok "an empty name" ended 125 "needs the name of a file"
    on
    ok "no program" ended 125 "run which program?"
    try "$tool" run --library=/nonexistent/library.so "$plain"
    ok "no library" ended 125 "/nonexistent/library.so cannot be read"
    mkdir -p "$work/a b" && cp "$library" "$work/a b/library.so"
    try "$tool" run "--library=$work/a b/library.so" "$plain"
    ok "a library that LD_PRELOAD cannot name" ended 125 "a space or colon"
    on "$work/nonexistent"
    ok "a program that is not there" ended 127 "not found"
    on no-such-program-anywhere
    ok "a program that is not in PATH" ended 127 "no-such-program-anywhere: not found"
    on ""
    ok "a program without a name" ended 127 "not found"
    on "$work"
    ok "a directory" ended 126 "may not be executed"
    : >"$work/data"
    on "$work/data"
    ok "a file that is not executable" ended 126 "may not be executed"
    PATH="$work:$PATH" on data
    ok "the same, in PATH" ended 126 "may not be executed"
    printf '#!/nonexistent/interpreter\n' >"$work/lost" && chmod +x "$work/lost"
    on --quiet "$work/lost"
    ok "a script without its interpreter" ended 127 "lost: its interpreter /nonexistent/interpreter is not there"
    printf '#!%s\n' "$work/lost" >"$work/lost2" && chmod +x "$work/lost2"
    on --quiet "$work/lost2"
    ok "a script whose interpreter is such a script" ended 127 "lost2: its interpreter /nonexistent/interpreter is not there"
    printf '#!/usr/bin/env no-such-interpreter\n' >"$work/lost3" && chmod +x "$work/lost3"
    on --quiet "$work/lost3"
    ok "what env does not find is for env to say" ended 127 "env: "
}

# What is there and is no statistics of ours stays; where none can be kept the program does not run.
statistics_are_kept_or_refused() {
    local show='printf ran'

    on --quiet "--stats=$work/nowhere/stats" sh -c "$show"
    ok "statistics in no directory" ended 125 "cannot be kept in $work/nowhere/stats: No such file or directory"
    ok "and the program does not run" silent "$work/out"
    on --quiet "--stats=$work/%p/stats" sh -c "$show"
    ok "the same with %p" ended 125 "/stats: No such file or directory"
    on --quiet "--stats=$(printf '%05000d' 1)" sh -c "$show"
    ok "a name that is too long" ended 125 "File name too long"
    echo "dear diary" >"$work/diary"
    on --quiet "--stats=$work/diary" "$plain" exit
    ok "a file of something else" ended 125 "diary: it exists and holds something else"
    ok "stays as it is" [ "$(cat "$work/diary")" = "dear diary" ]
    LIBPOSIX_AIO_STATS=$work/diary LD_PRELOAD=$library try "$plain" exit
    ok "the library by itself replaces it neither" [ "$(cat "$work/diary")" = "dear diary" ]
    mkfifo "$work/pipe" && ln -s diary "$work/link" && mkdir -p "$work/directory"
    for each in pipe link directory; do
        on --quiet "--stats=$work/$each" "$plain" exit
        ok "a $each" ended 125 "$each: it exists and holds something else"
        LIBPOSIX_AIO_STATS=$work/$each LD_PRELOAD=$library try "$plain" exit
        ok "nor a $each" [ ! -f "$work/$each" -o -L "$work/$each" ]
    done
    : >"$work/empty"
    on "--stats=$work/empty" "$plain" exit
    ok "an empty file is no loss" [ "$(sum read. "$work/empty")" = 30 ]
    on "--stats=$work/empty" "$plain" exit
    ok "nor are earlier statistics" [ "$(sum read. "$work/empty")" = 30 ]
    on --quiet "--stats=$work/empty" true
    ok "which do not pass for those of a program without AIO" [ ! -e "$work/empty" ]
    on "--stats=$work/own.%p" "$plain" exit
    ok "%p is the program's" [ "$(value pid "$work"/own.[0-9]*)" = "$(basename "$work"/own.[0-9]* | cut -d. -f2)" ]
}

# A mapping of a file that has no room ends its program by SIGBUS when it is written to.
no_space_for_statistics() {
    # shellcheck disable=SC2016 # for the inner shell
    local full=(unshare --mount sh -c 'mount -t tmpfs -o size=4k full "$0" && exec "$@"' "$work/directory")

    if ! "${full[@]}" true 2>"$work/err"; then
        skip "a full filesystem" "$(head -n 1 "$work/err")"
        return 0
    fi
    try "${full[@]}" "$tool" run "--library=$library" "--stats=$work/directory/stats" "$plain" exit
    ok "no space for statistics" ended 125 "directory/stats: No space left on device"
    # shellcheck disable=SC2016
    try "${full[@]}" sh -c 'LIBPOSIX_AIO_STATS=$1/stats LD_PRELOAD=$2 "$0" exit && ls "$1"' \
        "$plain" "$work/directory" "$library"
    ok "the library does without, and leaves no file" printed ""
}

# A library that the dynamic linker would pass over with a word, or without one.
libraries_are_looked_at() {
    local other

    library_refused "a directory" "$work" "is not a regular file"
    mkfifo "$work/library.fifo"
    library_refused "a FIFO" "$work/library.fifo" "is not a regular file"
    : >"$work/nothing.so"
    library_refused "an empty file" "$work/nothing.so" "is not an ELF file"
    echo 'GROUP ( libposix-aio.so.1 )' >"$work/script.so"
    library_refused "a linker script" "$work/script.so" "is not an ELF file"
    cp "$library" "$work/arm.so" && printf '\xb7' | dd of="$work/arm.so" bs=1 seek=18 conv=notrunc status=none
    library_refused "a library of another architecture" "$work/arm.so" "is for another architecture"
    library_refused "a program" "$plain" "is not a shared library"
    other=$(ldd "$plain" | awk '$1 == "libc.so.6" { print $3 }')
    library_refused "glibc" "$other" "is not libposix-aio"
    if compile none.so 'int f(void) { return 0; }' -shared -fPIC && compile none.o 'int f(void) { return 0; }' -c; then
        library_refused "another library" "$work/none.so" "exports no aio_read"
        library_refused "an object file" "$work/none.o" "is not a shared library"
    else
        skip "another library" "it cannot be compiled"
    fi
}

# library_refused WHAT FILE REASON
library_refused() {
    try timeout 20 "$tool" run "--library=$2" "$plain" exit
    ok "$1 is refused as the library" ended 125 "$2 cannot be preloaded: it $3"
}

programs_are_found_in_path() {
    mkdir "$work/bin"
    cp "$plain" "$work/bin/found-here"
    PATH="/nonexistent:$work/bin:$PATH" on "--stats=$work/stats" found-here exit
    ok "a program is found in PATH" ended 0
    ok "and runs on the library" [ "$(sum read. "$work/stats")" = 30 ]
    (cd "$work/bin" && PATH=":$PATH" on "--stats=$work/stats2" found-here exit)
    ok "an empty element of PATH is this directory" [ "$(sum read. "$work/stats2")" = 30 ]
}

# patched NAME OFFSET BYTES: a copy of the program with other bytes there
patched() {
    cp "$plain" "$work/$1"
    printf '%b' "$3" | dd of="$work/$1" bs=1 seek="$2" conv=notrunc status=none
}

# compile NAME SOURCE [ARG...]: makes the program or library of that name
compile() {
    printf '%s\n' "$2" >"$work/$1.c"
    ${T_CC:-cc} -o "$work/$1" "$work/$1.c" "${@:3}" 2>"$work/err"
}

interpreter_of() { readelf -lW "$1" | sed -n 's/.*program interpreter: \(.*\)]/\1/p'; }

# A dynamic linker is known by what it is, not by the name of its file.
programs_of_other_linkers() {
    local main='int main(void) { return 5; }'

    cp "$library" "$work/ld-linux-x86-64.so.2"
    cp "$(interpreter_of "$plain")" "$work/copy-of-ours"
    if compile stranger "$main" "-Wl,--dynamic-linker=$work/ld-linux-x86-64.so.2" &&
        compile friend "$main" "-Wl,--dynamic-linker=$work/copy-of-ours"; then
        on "$work/stranger"
        ok "a program for another C library" ended 126 "another C library: its dynamic linker $work/ld-linux-x86-64.so.2 is not glibc's"
        on --quiet "$work/friend"
        ok "glibc's dynamic linker under another name" ended 5
    else
        skip "a program for another C library" "it cannot be compiled"
    fi
}

programs_that_never_fit() {
    if compile static 'int main(void) { return 0; }' -static; then
        on "$work/static"
        ok "a static program" ended 126 "linked statically"
    else
        skip "a static program" "it cannot be compiled"
    fi
    if compile static-pie 'int main(void) { return 0; }' -static-pie; then
        on "$work/static-pie"
        ok "a static program that can be moved" ended 126 "linked statically"
    else
        skip "a static program that can be moved" "it cannot be compiled"
    fi
    patched elsewhere 18 '\xb7\x00'
    on "$work/elsewhere"
    ok "a program of another architecture" ended 126 "another architecture"
    printf '#!%s\n' "$work/elsewhere" >"$work/script" && chmod +x "$work/script"
    on "$work/script"
    ok "a script for one" ended 126 "$work/elsewhere is for another architecture"
    patched musl "$(grep -abo ld-linux "$plain" | head -n 1 | cut -d: -f1)" 'ld-other'
    on "$work/musl"
    ok "a program without its dynamic linker" ended 127 "musl: its dynamic linker $(interpreter_of "$work/musl") is not there"
    programs_of_other_linkers
    if compile own 'int aio_read(void *p) { return !p; } int main(void) { return aio_read(0); }' -rdynamic -w; then
        on "$work/own"
        ok "a program with functions of its own" ended 126 "of its own"
    else
        skip "a program with functions of its own" "it cannot be compiled"
    fi
}

programs_that_gain_rights() {
    [ "$(id -u)" = 0 ] || { skip "programs that gain rights" "only root can make them"; return 0; }
    cp "$plain" "$work/user" && chown nobody "$work/user" && chmod u+s "$work/user"
    on "$work/user"
    ok "a set-user-ID program" ended 126 "is set-user-ID"
    cp "$plain" "$work/group" && chgrp nogroup "$work/group" && chmod g+s "$work/group"
    on "$work/group"
    ok "a set-group-ID program" ended 126 "is set-group-ID"
    try setpriv --no-new-privs "$tool" run "--library=$library" "--stats=$work/stats" "$work/user" exit
    ok "no longer, where nobody gains any" ended 0
    ok "and it is on the library" [ "$(sum read. "$work/stats")" = 30 ]
    cp "$plain" "$work/root" && chmod u+s "$work/root"
    on "$work/root" exit
    ok "nor a set-user-ID program of the user's own" ended 0
    programs_with_capabilities
}

# on_as_nobody DIRECTORY PROGRAM: the program on the library in that directory, without any rights
on_as_nobody() {
    try setpriv --reuid=65534 --regid=65534 --clear-groups "$1/${tool##*/}" run \
        "--library=$1/${library##*/}" "$2" exit
}

# For another user than root, in a directory where anybody may come.
programs_with_capabilities() {
    local open
    open=$(mktemp -d) && chmod 755 "$open"
    cp "$plain" "$tool" "$library" "$open"
    if setcap cap_net_raw=ep "$open/plain" 2>"$work/err"; then
        on_as_nobody "$open" "$open/plain"
        ok "a program with file capabilities" ended 126 "has file capabilities"
    else
        skip "a program with file capabilities" "setcap: $(head -n 1 "$work/err")"
    fi
    # Root reads everything; others need not be able to read what they may execute.
    cp "$plain" "$open/secret" && chmod 4711 "$open/secret"
    on_as_nobody "$open" "$open/secret"
    ok "a set-user-ID program that cannot be read" ended 126 "is set-user-ID"
    chmod 0711 "$open/secret"
    on_as_nobody "$open" "$open/secret"
    ok "of another that cannot be read nothing is known" says "$work/err" "secret cannot be read: whether"
    rm -rf "$open"
}

programs_without_aio() {
    on true
    ok "a program without POSIX AIO runs" ended 0
    ok "with a warning" says "$work/err" "calls POSIX AIO"
    on --quiet true
    ok "or without it" silent "$work/err"
    printf '#! %s exit\n' "$plain" >"$work/script2" && chmod +x "$work/script2"
    on "$work/script2"
    ok "a script is followed to its interpreter" silent "$work/err"
    printf '#!/usr/bin/env -S X=1 %s exit\n' "$plain" >"$work/script3" && chmod +x "$work/script3"
    on "$work/script3"
    ok "and through env to the program" silent "$work/err"
    echo 'exit 9' >"$work/script4" && chmod +x "$work/script4"
    on "$work/script4"
    ok "what is no program is run by the shell" ended 9 "calls POSIX AIO"
    if compile libuser.so 'int aio_read(void *); int f(void) { return aio_read(0); }' -shared -fPIC -w &&
        compile linked 'int f(void); int main(int n, char **v) { return v && n > 9 ? f() : 0; }' "$work/libuser.so"; then
        on "$work/linked"
        ok "a library that uses POSIX AIO counts" silent "$work/err"
    else
        skip "a library that uses POSIX AIO" "it cannot be compiled"
    fi
}

programs_run_on_the_library
the_environment_is_set
statistics_are_kept_or_refused
no_space_for_statistics
libraries_are_looked_at
statuses_are_those_of_env
programs_are_found_in_path
programs_that_never_fit
programs_that_gain_rights
programs_without_aio
shell_end
