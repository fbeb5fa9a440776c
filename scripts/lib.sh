# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What the scripts share: messages, the project's directory, building out of tree.
# To be read with "." by a script that has set SCRIPTS to the directory of this file.

# shellcheck disable=SC2034  # used by the scripts that read this file
PROJECT=$(cd "$SCRIPTS/.." && pwd)
BUILD_ROOT=$PROJECT/build

say() {
    printf '==> %s\n' "$*"
}

die() {
    printf '%s: error: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# autoreconf runs aclocal before libtoolize brings m4/ and again after it. Where both fall into one second,
# Automake is given what autom4te has cached of the first, and its files differ: so m4/ is there before.
generate() {
    libtoolize -ci && autoreconf -i
}

# Makes configure and its company if they are missing or older than what they are made from.
bootstrap() {
    newest=$PROJECT/configure
    stale=no
    for source in "$PROJECT"/configure.ac "$PROJECT"/Makefile.am "$PROJECT"/*/Makefile.am; do
        [ -e "$source" ] || continue
        [ "$newest" -nt "$source" ] || stale=yes
    done
    if [ "$stale" = yes ]; then
        say "autoreconf -i"
        mkdir -p "$BUILD_ROOT"
        (cd "$PROJECT" && generate) >"$BUILD_ROOT/autoreconf.log" 2>&1 ||
            { cat "$BUILD_ROOT/autoreconf.log" >&2; die "autoreconf failed"; }
        touch "$newest"
    fi
}

# configure_into DIRECTORY ARGUMENT...: an out-of-tree configured directory, answers in its configure.log.
configure_into() {
    local directory=$1 answers
    shift
    bootstrap
    mkdir -p "$directory"
    answers="$PROJECT/configure $*"
    if [ -e "$directory/config.status" ] && [ "$directory/config.status" -nt "$PROJECT/configure" ] &&
        [ "$(cat "$directory/configured-with" 2>/dev/null)" = "$answers" ]; then
        return 0
    fi
    (cd "$directory" && "$PROJECT/configure" "$@") >"$directory/configure.log" 2>&1 ||
        { tail -n 20 "$directory/configure.log" >&2; die "configure failed: see $directory/configure.log"; }
    printf '%s' "$answers" >"$directory/configured-with"
}

# build_into DIRECTORY: what "make" builds there, its words in make.log.
build_into() {
    make -C "$1" -j "$(nproc)" >"$1/make.log" 2>&1 ||
        { tail -n 30 "$1/make.log" >&2; die "make failed: see $1/make.log"; }
}

# --- What a measurement needs: scripts/demo, scripts/bench -------------------------------------

# Builds the library as users get it, unless $library names one. Sets library and stat_program.
find_library() {
    if [ -z "$library" ]; then
        say "building libposix-aio in $BUILD_ROOT/optimized"
        configure_into "$BUILD_ROOT/optimized" CFLAGS="-O2 -g"
        build_into "$BUILD_ROOT/optimized"
        library=$BUILD_ROOT/optimized/.libs/libposix-aio.so.1
    fi
    [ -r "$library" ] || die "there is no library $library"
    library=$(realpath -s "$library")
    stat_program=$(dirname "$library")/posix-aio
    [ -x "$stat_program" ] || stat_program=$(dirname "$library")/../posix-aio
    [ -x "$stat_program" ] || die "the program posix-aio lies neither beside $library nor above it"
}

find_commands() {
    for command in "$@"; do
        command -v "$command" >/dev/null || die "$command is installed but not found in PATH ($PATH)"
    done
}

find_fio() {
    find_commands fio jq fincore
    fio --enghelp 2>/dev/null | grep -qw posixaio || die "this fio has no posixaio engine: use Debian's"
}

# claim_directory DIRECTORY MIB MEMORY_MIB: a directory of our own in $work, on a filesystem ($filesystem) that
# is fit for it and has that much space, removed when we end; MEMORY_MIB is for the page cache.
claim_directory() {
    mkdir -p "$1" || die "cannot make the directory $1"
    work=$(mktemp -d "$1/posix-aio.XXXXXX") || die "cannot write in $1"
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT TERM

    filesystem=$(df --output=fstype "$work" | tail -n 1)
    case $filesystem in
    tmpfs | ramfs)
        die "$1 is on $filesystem, which has no device behind it: name a directory on a disk" ;;
    esac
    dd if=/dev/zero of="$work/probe" bs=4096 count=1 oflag=direct status=none 2>/dev/null ||
        die "$1 ($filesystem) does not allow O_DIRECT: name a directory on another filesystem"
    local free need=$(($2 + 64)) memory
    free=$(($(df --output=avail -B1M "$work" | tail -n 1)))
    [ "$free" -ge "$need" ] || die "no space: $1 has $free MiB free and the test needs $need MiB"
    memory=$(awk '/^MemAvailable/ { print int($2 / 1024) }' /proc/meminfo)
    [ "$memory" -ge "$3" ] || die "too little memory: $memory MiB available, and $3 MiB are needed"
}

# lay_out FILE MIB: a file with all its blocks allocated and written.
lay_out() {
    dd if=/dev/zero of="$1" bs=1M count="$2" oflag=direct status=none || die "could not write $2 MiB to $1"
    sync "$1"
}

cached_bytes() {
    fincore --bytes --noheadings --output RES "$1" | tr -d ' '
}

# evict FILE: writes it back and has the page cache forget it. Writeback of one run must not disturb
# the next: every state begins with the file's fsync.
evict() {
    dd if=/dev/null of="$1" conv=notrunc,fdatasync oflag=nocache count=0 status=none
    [ "$(cached_bytes "$1")" -lt 1048576 ] || die "the page cache would not let go of $1"
}

# load FILE MIB: writes it back and has the page cache hold its first MIB, which are brought in by
# random reads of 4 KiB: sequential reads would leave large folios behind, which slow down small
# buffered writes. Three attempts, because some kernels reclaim idle pages all the time.
load() {
    local attempt
    sync -d "$1"
    for attempt in 1 2 3; do
        [ "$(cached_bytes "$1")" -lt $(($2 << 20)) ] || return 0
        fio --name=load --filename="$1" --size=$(($2 / 16))m --offset_increment=$(($2 / 16))m \
            --numjobs=16 --thread --ioengine=psync --bs=4k --rw=randread --invalidate=0 \
            --output=/dev/null || die "fio could not load $1"
    done
    [ "$(cached_bytes "$1")" -ge $(($2 << 20)) ] ||
        die "the page cache would not hold $2 MiB of $1 after $attempt attempts"
}

# run_fio SIDE WORD...: fio's posixaio engine on glibc's AIO, on ours or on $bare (bench/bare.c), or the
# engine that SIDE names; leaves result.json, and the whole tree's CPU time (user and system, library
# threads included, which fio's own usr_cpu and sys_cpu leave out) in cpu. $environment is put before
# it, $within too: a command.
run_fio() {
    preload='' engine=posixaio
    case $1 in
    ours) preload=$library ;;
    glibc) ;;
    bare) preload=${bare:?} ;;
    threads) engine=psync ;;
    *) engine=$1 ;;
    esac
    shift
    local TIMEFORMAT='%3U %3S'
    # shellcheck disable=SC2086  # lists of words
    { time ${within:-} env ${preload:+LD_PRELOAD="$preload"} ${environment:+$environment} \
        fio --name=run --aux-path="$work" --ioengine=$engine --randrepeat=0 --output-format=json \
        --output="$work/result.json" "$@" </dev/null 2>"$work/fio.err"; } 2>"$work/cpu" || {
        cat "$work/fio.err" "$work/result.json" >&2
        die "fio failed: fio --ioengine=$engine $*"
    }
    sed -i '/^{/,$!d' "$work/result.json"
    [ "$(jq '.jobs[0].error' "$work/result.json")" = 0 ] || {
        cat "$work/fio.err" >&2
        die "fio reported an error: fio --ioengine=$engine $*"
    }
}

# What fio says it issued, as the number of requests.
issued_by_fio() {
    jq '[.jobs[] | .read.total_ios, .write.total_ios, (.sync.total_ios // 0)] | add' "$work/result.json"
}

# Reads the statistics that processes on the library left in $work/stats.PID: $counted is the number of
# requests, $ways how many went which way; the statistics themselves are in $work/counted.
take_statistics() {
    local words='^(read|write|fsync)[.](inline|kernel|pool|stream|waiter)$'
    for statistics in "$work"/stats.*; do
        [ -e "$statistics" ] || die "the library kept no statistics: it was not at work"
        "$stat_program" stat "$statistics" || die "posix-aio could not read the library's statistics"
    done >"$work/counted"
    rm -f "$work"/stats.*
    counted=$(awk -v words="$words" '$1 ~ words { sum += $2 } END { print sum + 0 }' "$work/counted")
    ways=$(awk -v words="$words" '$1 ~ words && $2 > 0 { sum[$1] += $2 }
        END { for (way in sum) printf " %s %d", way, sum[way] }' "$work/counted")
}
