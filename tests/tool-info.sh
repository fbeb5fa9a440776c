#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# posix-aio info: what it says of the kernel and of files is what programs then meet, and the files
# stay as they are.

# shellcheck disable=SC2016 # awk's programs
set -eu
# shellcheck source=tests/shell.sh
. "${0%/*}/shell.sh"

tool=${T_TOOL:?} library=${T_LIBRARY:?} programs=${T_PROGRAMS:?}

# shellcheck disable=SC2329 # called through ok
ended() { [ "$status" = "$1" ] && { [ $# = 1 ] || says "$work/err" "$2"; }; }
# line NAME: what the last info said behind that name; way REQUEST: the way in its table
line() { sed -n "s/^$1  *//p" "$work/out"; }
way() { sed -n "s/^$1   *//p" "$work/out" | sed 's/,.*//'; }

# way_taken OPERATION FILE [COMMAND...]: the way that such a request really goes; not the first one,
# which may have to wait until the page cache is written back
way_taken() {
    "$programs/requester" "$1" "$2" <<<1 >/dev/null
    echo 1 | "${@:3}" env "LD_PRELOAD=$library" "LIBPOSIX_AIO_STATS=$work/stats" \
        "$programs/requester" "$1" "$2" >/dev/null
    "$tool" stat "$work/stats" |
        awk '$1 ~ /^(read|write|fsync)\.(inline|kernel|pool|stream|waiter)$/ && $2 > 0 { split($1, w, "."); print w[2] }'
}

# one_of WAY "WAY [or WAY]"
# shellcheck disable=SC2329 # called through ok
one_of() { [ -n "$1" ] && [[ " $2 " == *" $1 "* ]]; }

# The table for a file against requests on a copy of it.
table_is_true() {
    local where=$1 file=$2 row operation copy=$2.copy
    cp "$file" "$copy" # fresh: not yet written back
    try "$tool" info "$copy"
    ok "$where: there is an answer" ended 0
    while read -r operation row; do
        ok "$where: $row goes the way that it says" \
            one_of "$(way_taken "$operation" "$copy")" "$(way "$row")"
    done <<'EOF'
read read, in the page cache, at most 64 KiB
write write, other, at most 64 KiB
dsync-write write, O_SYNC or O_DSYNC, at most 64 KiB
fsync aio_fsync
EOF
    if [[ $(line O_DIRECT) == works* ]]; then
        ok "$where: O_DIRECT reads go the way that it says" \
            [ "$(way "read, O_DIRECT")" = "$(way_taken direct-read "$copy")" ]
        ok "$where: and writes" [ "$(way "write, O_DIRECT")" = "$(way_taken direct-write "$copy")" ]
    else
        ok "$where: no O_DIRECT, no way" [ -z "$(way "read, O_DIRECT")$(way "write, O_DIRECT")" ]
    fi
    rm -f "$copy"
}

of_the_kernel() {
    try "$tool" info
    ok "there is an answer" ended 0
    ok "the kernel is named" says <(line kernel) "$(uname -r)"
    ok "the limit is the kernel's" [ "$(line fs.aio-max-nr)" = "$(cat /proc/sys/fs/aio-max-nr)" ]
    ok "pipes have their way" [ "$(way "pipe, terminal, other stream")" = stream ]
    ok "buffered writes have theirs" [ "$(way "write, other")" = pool ]
    LIBPOSIX_AIO_ENGINE=pool try "$tool" info
    ok "the environment counts" [ "$(line engine)" = "pool (LIBPOSIX_AIO_ENGINE=pool)" ]
    ok "without kernel AIO nothing goes that way" [ "$(grep -c ' kernel$' "$work/out")" = 0 ]
    LIBPOSIX_AIO_ENGINE=steam LIBPOSIX_AIO_ORDER=alphabetical try "$tool" info
    ok "an unknown engine is told, and what becomes of it" says "$work/out" \
        "LIBPOSIX_AIO_ENGINE=steam (not known, ignored: as auto)"
    ok "so is an unknown order" says "$work/out" \
        "LIBPOSIX_AIO_ORDER=alphabetical (not known, ignored: in any order)"
    # Other processes have contexts of their own.
    ok "they change nothing" [ "$(sed '/^environment/d; /^fs\.aio-nr/d' "$work/out")" = "$("$tool" info | sed '/^fs\.aio-nr/d')" ]
    LIBPOSIX_AIO_ENGINE=kernel LIBPOSIX_AIO_ORDER=descriptor try "$tool" info
    ok "what is known is not called unknown" [ "$(grep -c 'not known' "$work/out")" = 0 ]
    LIBPOSIX_AIO_ENGINE='' LIBPOSIX_AIO_ORDER='' try "$tool" info
    ok "nor is what is empty" [ "$(grep -c 'not known' "$work/out")" = 0 ]
    LIBPOSIX_AIO_ORDER=descriptor try "$tool" info
    ok "in the order of glibc nothing is inline" [ "$(grep -c ' inline' "$work/out")" = 0 ]
}

# As in a container that forbids it.
under_a_filter() {
    try "$programs/deny" io_setup 1 "$tool" info
    ok "a forbidden io_setup is seen" says <(line io_setup) "fails: EPERM (a seccomp filter forbids it"
    ok "the filter too" [ "$(line seccomp)" = "a filter" ]
    ok "the engine is the pool" [ "$(line engine)" = "pool (kernel AIO: EPERM)" ]
    try "$programs/deny" io_setup 38 "$tool" info
    ok "a hidden io_setup is seen" says <(line io_setup) "fails: ENOSYS (the kernel has no AIO"
    try "$programs/deny" io_setup 11 "$tool" info
    ok "a used up aio-max-nr is seen" says <(line io_setup) "fs.aio-max-nr is used up"
    try "$programs/deny" io_submit 1 "$tool" info
    ok "a forbidden io_submit is seen" says <(line io_submit) "fails: EPERM"
    ok "and the engine is the pool" [ "$(line engine)" = "pool (kernel AIO: ENOSYS)" ]
    try "$programs/deny" preadv2 95 "$tool" info
    ok "RWF_NOWAIT that fails is seen" says <(line RWF_NOWAIT) "fails on"
    ok "requests go by the pool there" [ "$(way_taken direct-read "$work/data" "$programs/deny" io_setup 1)" = pool ]
}

of_files() {
    table_is_true "this directory" "$work/data"
    # shellcheck disable=SC2012
    ok "the filesystem is named" [ "$(line filesystem | cut -d' ' -f1)" = "$(df --output=fstype "$work" | tail -n 1)" ]
    shm=$(mktemp /dev/shm/tool-info.XXXXXX)
    head -c 100000 /dev/urandom >"$shm"
    table_is_true "tmpfs" "$shm"
    ok "tmpfs: reads are inline" [ "$(way "read, in the page cache, at most 64 KiB")" = inline ]
    rm -f "$shm"
    : >"$work/empty"
    try "$tool" info "$work/empty"
    ok "an empty file" ended 0
    head -c 4095 /dev/zero >"$work/short"
    try "$tool" info "$work/short"
    if [[ $(line O_DIRECT) == works* ]]; then
        ok "a short file: why O_DIRECT is not tried" says "$work/out" "kernel, not tried: the file is shorter than 4096 bytes"
        head -c 4096 /dev/zero >"$work/short"
        try "$tool" info "$work/short"
        ok "a block is long enough" says <(grep '^read, O_DIRECT' "$work/out") ", tried"
    else
        skip "a short file by O_DIRECT" "this directory has none"
    fi
    LIBPOSIX_AIO_ENGINE=pool try "$tool" info "$work/data"
    ok "a file without kernel AIO" [ "$(way "read, O_DIRECT")$(way "write, O_DIRECT")" != kernel ]
}

files_stay_as_they_are() {
    local before bytes
    bytes=$(sha256sum "$work/data")
    touch -d '2001-02-03 04:05' "$work/data" # so that a read would change the time of access
    before=$(stat -c '%X %Y %Z %s %b %i' "$work/data")
    try "$tool" info "$work/data"
    ok "no time and no size has changed" [ "$before" = "$(stat -c '%X %Y %Z %s %b %i' "$work/data")" ]
    ok "no byte has changed" [ "$bytes" = "$(sha256sum "$work/data")" ]
    if ! strace -o "$work/trace" true 2>"$work/err"; then
        skip "nothing is opened for writing" "no strace: $(tail -n 1 "$work/err")"
        return 0
    fi
    # The leak checker does not work in a process that is traced.
    ASAN_OPTIONS="$ASAN_OPTIONS:detect_leaks=0" try strace -f -o "$work/trace" -e trace=openat "$tool" info "$work/data"
    ok "nothing is opened for writing" awk '/openat/ && /O_WRONLY|O_RDWR|O_CREAT/ { bad = 1 }
        /openat/ && /O_RDONLY/ { opened = 1 } END { exit bad || !opened }' "$work/trace"
}

of_other_things() {
    try "$tool" info "$work"
    ok "a directory" [ "$(line type)" = "directory: a read of it ends with EISDIR" ]
    ok "goes by the pool" [ "$(way "read, write")" = pool ]
    mkfifo "$work/fifo"
    try timeout 20 "$tool" info "$work/fifo"
    ok "a FIFO is not waited for" ended 0
    ok "it goes with the streams" [ "$(way "read, write")" = stream ]
    try timeout 20 "$tool" info /proc/self/fd/0
    ok "a device is not opened" says <(line type) "not opened"
    try timeout 20 "$tool" info /proc/kmsg
    if [ "$status" = 0 ]; then
        ok "what waits for others goes by the pool" [ "$(way "read, other, buffered")" = pool ]
        ok "and is not read" [ "$(grep -c tried "$work/out")" = 0 ]
    else
        skip "/proc/kmsg" "$(cat "$work/err")"
    fi
    try "$tool" info "$work/nothing"
    ok "no file" ended 1 "nothing: No such file or directory"
    ok "and no answer" silent "$work/out"
    if [ "$(id -u)" = 0 ]; then
        open=$(mktemp -d) && chmod 755 "$open" && cp "$tool" "$open" && : >"$open/secret" && chmod 600 "$open/secret"
        try setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all "$open/${tool##*/}" info "$open/secret"
        ok "a file that may not be read" ended 1 "secret: cannot be opened for reading: Permission denied"
        rm -rf "$open"
    else
        : >"$work/secret" && chmod 0 "$work/secret"
        try "$tool" info "$work/secret"
        ok "a file that may not be read" ended 1 "secret: cannot be opened for reading: Permission denied"
    fi
    try "$tool" info a b
    ok "two files" ended 2 "takes one FILE"
    try "$tool" info --all
    ok "an option" ended 2 "no option --all"
}

of_the_program() {
    try "$tool" --version
    ok "the version" [ "$(cat "$work/out")" = "posix-aio $("$tool" --version | cut -d' ' -f2)" ]
    for each in --help "run --help" "info --help" "stat --help"; do
        # shellcheck disable=SC2086
        try "$tool" $each
        ok "$each is the usage" says "$work/out" "posix-aio stat PID|FILE [INTERVAL [COUNT]]"
        ok "$each is no error" ended 0
    done
    try "$tool"
    ok "no command" ended 2 "which command?"
    try "$tool" walk
    ok "an unknown command" ended 2 'no command "walk"'
}

head -c 100000 /dev/urandom >"$work/data"
of_the_kernel
under_a_filter
of_files
files_stay_as_they_are
of_other_things
of_the_program
shell_end
