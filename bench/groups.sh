# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The rows of the benchmark, group by group. Read by scripts/bench; bench/measure.sh has row and its kin.
# bench/targets and the plots know the rows by their titles.

# shellcheck disable=SC2154  # variables of scripts/bench

# shellcheck disable=SC2034  # used by scripts/bench
GROUPS_ALL='fio size many outstanding call notification lists pollers streams start limits'
# shellcheck disable=SC2034
GROUPS_QUICK='fio call notification lists pollers streams start'

SLOW_MS=10 # the slow disk takes this long for each transfer

title_of() {
    case $1 in
    targets) echo "Targets" ;;
    fio) echo "fio, 4 KiB, one job, one file" ;;
    size) echo "Size of a request" ;;
    many) echo "Many files, many threads" ;;
    outstanding) echo "Many requests outstanding" ;;
    call) echo "Time inside the call" ;;
    notification) echo "Notification" ;;
    lists) echo "Lists" ;;
    pollers) echo "Pollers" ;;
    streams) echo "Streams" ;;
    start) echo "Start" ;;
    limits) echo "Limits" ;;
    esac
}

# full_or_quick WORDS WORDS: which values a series has in this run.
full_or_quick() {
    if [ "$quick" = yes ]; then echo "$2"; else echo "$1"; fi
}

# rounds_for DEPTH DEPTHS: of a row that has targets at these depths which are as close as the rounds' spread.
rounds_for() {
    case " $2 " in
    *" $1 "*) full_or_quick "$CLOSE_ROUNDS" "$ROUNDS" ;;
    *) echo "$ROUNDS" ;;
    esac
}

# full COMMAND...: not in a quick run.
full() {
    [ "$quick" = yes ] || "$@"
}

group_fio() {
    local depth sides cached
    for depth in $(full_or_quick '1 8 32 128' '32'); do
        sides="glibc ours $engines"
        cached=$sides
        case $depth in 1 | 32)
            cached="$sides psync$(full_or_quick ' bare' '')"
            sides=$(full_or_quick "$cached" "$sides")
            ;;
        esac
        rounds=$(rounds_for "$depth" '1 32') fio_row "O_DIRECT random read" "$depth" uncached "$sides" --rw=randread --direct=1 --norandommap
        rounds=$(rounds_for "$depth" '1 32') fio_row "O_DIRECT random write" "$depth" uncached "$sides" --rw=randwrite --direct=1 --norandommap
        full fio_row "O_DIRECT 70/30 mix" "$depth" uncached "$sides" --rw=randrw --rwmixread=70 --direct=1 --norandommap
        # A cold read visits no block twice (lfsr), or it would find what it brought in itself.
        rounds=$(rounds_for "$depth" '1 32') fio_row "cold buffered random read" "$depth" uncached "$sides" --rw=randread --random_generator=lfsr
        rounds=$(rounds_for "$depth" 32) fio_row "cached buffered random read" "$depth" cached "$cached" --rw=randread --norandommap --invalidate=0
        rounds=$(rounds_for "$depth" 32) fio_row "buffered random write" "$depth" cached "$sides" --rw=randwrite --norandommap --invalidate=0
        [ "$depth" = 1 ] || sides="$sides threads"
        rounds=$(rounds_for "$depth" '1 32') fio_row "O_DSYNC random write" "$depth" cached "$sides" --rw=randwrite --norandommap --invalidate=0 --sync=dsync
    done
}

group_size() {
    local bytes words
    for bytes in $(full_or_quick '512 16384 65536 524288 4194304' '65536'); do
        words="--bs=$bytes --iodepth=32 --norandommap"
        # shellcheck disable=SC2086  # lists of words
        {
            if [ "$bytes" -ge "$(direct_unit)" ]; then
                fio_row "O_DIRECT random read" "$bytes" uncached "glibc ours $engines" $words --rw=randread --direct=1
                full fio_row "O_DIRECT random write" "$bytes" uncached "glibc ours $engines" $words --rw=randwrite --direct=1
            fi
            fio_row "cached random read" "$bytes" cached "glibc ours psync" $words --rw=randread --invalidate=0
            full fio_row "buffered random write" "$bytes" cached "glibc ours psync" $words --rw=randwrite --invalidate=0
        }
    done
}

# The least that O_DIRECT can transfer here.
direct_unit() {
    [ "${counting:?}" = no ] || { echo 512; return 0; }
    if dd if="$file" of=/dev/null bs=512 count=1 iflag=direct status=none 2>/dev/null; then echo 512; else echo 4096; fi
}

group_many() {
    local count sides="glibc ours $engines"
    for count in $(full_or_quick '1 16 256 4096' '256'); do
        # shellcheck disable=SC2016  # fio's own variable
        fio_row "files, O_DIRECT random read, one request each" "$count" none "$sides" --rw=randread --direct=1 \
            --norandommap --directory="$work/many" --filename_format='$filenum' --nrfiles="$count" \
            --filesize="${MANY_KIB}k" --openfiles="$count" --file_service_type=roundrobin
    done
    for count in $(full_or_quick '1 2 4' ''); do
        fio_row "threads, O_DIRECT random read, one file" "$count" uncached "$sides" --rw=randread --direct=1 \
            --norandommap --thread --numjobs="$count" --iodepth=32
        # shellcheck disable=SC2016  # fio's own variable
        fio_row "threads, O_DIRECT random read, a file each" "$count" none "$sides" --rw=randread --direct=1 \
            --norandommap --thread --numjobs="$count" --iodepth=32 --directory="$work" \
            --filename_format='own.$jobnum' --filesize="${OWN_MIB}m"
    done
}

group_outstanding() {
    local counts
    counts=$(full_or_quick '1 10 100 1000 10000 100000' '100 100000')
    row "O_DIRECT random read" "$counts" uncached "glibc ours $(full_or_quick "$(raw_libaio)" '')" outstanding_run
    full row "read of a pipe" "$counts" none "glibc ours" program_run outstanding -k pipe -n @X@ --
}

raw_libaio() {
    case " $engines " in *" libaio "*) echo libaio ;; esac
}

# outstanding_run SIDE X CACHE: the raw interface, as far as the system has room for so many requests.
outstanding_run() {
    case $1 in
    glibc | ours) program_run outstanding -k file -d -f "$file" -n @X@ -- "$@" ;;
    *) if [ "$2" -gt $(($(cat /proc/sys/fs/aio-max-nr) - $(cat /proc/sys/fs/aio-nr))) ]; then
        echo "note more than fs.aio-max-nr" >"$work/figures"
    else
        fio_run --rw=randread --direct=1 --norandommap --iodepth_batch_complete_min=1 --iodepth_batch_complete_max=1 -- "$@"
    fi ;;
    esac
}

group_call() {
    local depth
    for depth in $(full_or_quick '1 32' '32'); do
        row "aio_read, cold file" "$depth" uncached "glibc ours $engines" \
            call_run read --rw=randread --random_generator=lfsr --
        full row "aio_write, cold file" "$depth" uncached "glibc ours $engines" call_run write --rw=randwrite --norandommap --
    done
    full row "lio_listio, cold file" 32 uncached "glibc ours" program_run call -k list -f "$file" -n @X@ --
    [ "$quick" = no ] && have_slow_disk || return 0
    row "aio_read, slow disk" 32 none "glibc ours $engines" slow_run read --rw=randread --norandommap --
    row "aio_write, slow disk" 32 none "glibc ours $engines" slow_run write --rw=randwrite --norandommap --
    row "lio_listio, slow disk" 32 none "glibc ours" slow_list_run
}

# call_run KIND WORD... -- SIDE X CACHE: ours and glibc by the program; the raw engines by fio, whose
# slat is the time that the submitting system call takes.
call_run() {
    local kind=$1 side
    shift
    local words=()
    while [ "$1" != -- ]; do
        words+=("$1")
        shift
    done
    side=$2
    case $side in
    glibc | ours) program_run call -k "$kind" -f "${slow_file:-$file}" -n @X@ "$@" ;;
    *) latency=slat_ns fio_run ${slow_file:+--filename="$slow_file" --size=4m} "${words[@]}" "$@" ;;
    esac
}

# The same on a file that takes SLOW_MS for each transfer. What is done one by one there needs a longer
# run for a hundredth of it to be a number.
slow_run() {
    slow_file='{}' within="$programs/slowdisk $SLOW_MS" run_ms=1500 call_run "$@"
}

slow_list_run() {
    slow_file='{}' within="$programs/slowdisk $SLOW_MS" run_ms=1500 \
        program_run call -k list -f '{}' -n @X@ -- "$@"
}

have_slow_disk() {
    [ "${counting:?}" = no ] || return 0
    "$programs/slowdisk" 1 true 2>"$work/slowdisk.err" || {
        say "no slow disk: $(cat "$work/slowdisk.err")"
        return 1
    }
}

group_notification() {
    local kind depth title read direct rounds
    for depth in $(full_or_quick '1 32' '32'); do
        for kind in $(full_or_quick 'signal thread list' 'signal thread'); do
            title=SIGEV_$(echo "$kind" | tr '[:lower:]' '[:upper:]')
            [ "$kind" != list ] || title="LIO_NOWAIT list of 4, signal"
            read="glibc ours" direct="glibc ours"
            if [ "$kind" != list ] && [ "$quick" = no ]; then
                direct="$direct $engines"
                [ "$depth" != 1 ] || direct="$direct psync" read="$read psync"
            fi
            row "$title, cached" "$depth" cached "$read" notify_run "$kind" '' --rw=randread --norandommap --invalidate=0
            [ "$quick" = yes ] || row "$title, cold" "$depth" uncached 'glibc ours' notify_run "$kind" ''
            [ "$kind" = list ] || full row "$title, buffered write" "$depth" cached "$read" notify_run "$kind" -w --rw=randwrite --norandommap --invalidate=0
            [ "$kind" = list ] || rounds=$(rounds_for "$depth" 32)
            row "$title, O_DIRECT" "$depth" uncached "$direct" notify_run "$kind" -d --rw=randread --norandommap --direct=1
            rounds=
        done
    done
}

# notify_run KIND -d|-w|'' WORD... SIDE X CACHE: the others notify of nothing, and show what the transfers alone take.
notify_run() {
    local kind=$1 option=$2 side=${*: -3:1}
    local last=("${@: -3}") words=("${@:3:$#-5}")
    case $side in
    glibc | ours) program_run notify -k "$kind" -f "$file" -n @X@ ${option:+"$option"} -- "${last[@]}" ;;
    *) fio_run "${words[@]}" -- "${last[@]}" ;;
    esac
}

group_lists() {
    local mode count sides cached
    for mode in $(full_or_quick 'wait nowait' wait); do
        for count in $(full_or_quick '1 16 64 256 4096' '64'); do
            sides="glibc ours" cached="glibc ours"
            [ "$mode" = nowait ] || [ "$quick" = yes ] || sides="$sides $engines" cached="$cached psync"
            row "LIO_${mode^^}, cached" "$count" cached "$cached" list_run "$mode" ''
            row "LIO_${mode^^}, O_DIRECT" "$count" uncached "$sides" list_run "$mode" -d
        done
    done
}

# list_run MODE -d|'' SIDE X CACHE: the raw engines submit X at once, and wait for all of them; psync reads one by one.
list_run() {
    local mode=$1 direct=$2
    shift 2
    case $1 in
    glibc | ours) program_run lists -k "$mode" ${direct:+"$direct"} -f "$file" -n @X@ -- "$@" ;;
    psync) fio_run --rw=randread --norandommap --invalidate=0 -- "$@" ;;
    *) fio_run --rw=randread --direct=1 --norandommap --iodepth_batch="$2" --iodepth_batch_complete_min="$2" \
        --iodepth_batch_complete_max="$2" --iodepth_low=1 -- "$@" ;;
    esac
}

group_pollers() {
    local count
    for count in $(full_or_quick '1 32' '32'); do
        full row "aio_error in a loop, cached" "$count" cached "glibc ours" program_run pollers -k error -f "$file" -n @X@ --
        row "aio_error in a loop, O_DIRECT" "$count" uncached "glibc ours" \
            program_run pollers -k error -d -f "$file" -n @X@ --
    done
    for count in $(full_or_quick '1 32 1024' '32'); do
        row "aio_suspend, one of them completes, O_DIRECT" "$count" uncached "glibc ours" \
            program_run pollers -k suspend -d -f "$file" -n @X@ --
    done
}

group_streams() {
    row "pipes, one read on each" 1000 none "glibc ours" program_run streams -k pipe -n @X@ --
    full row "socket pairs, one read on each" 1000 none "glibc ours" program_run streams -k socket -n @X@ --
}

group_start() {
    full row "first request of a process, cached" 1 cached "glibc ours" program_run start -k first -f "$file" --
    row "first request of a process, O_DIRECT" 1 uncached "glibc ours" program_run start -k first -d -f "$file" --
    row "process that does nothing, started and ended" "$(full_or_quick 300 100)" none "glibc ours" spawn_run
    full row "process at rest after 1000 requests" 1 uncached "glibc ours" program_run start -k idle -d -f "$file" --
}

# spawn_run SIDE X CACHE: the library is there and unused, so that its statistics cannot prove it.
spawn_run() {
    if [ "${proving:-no}" = yes ]; then
        env LD_PRELOAD="$library" cat /proc/self/maps | grep -qF "$(basename "$(realpath "$library")")" ||
            die "LD_PRELOAD does not bring the library in"
        way="loaded only"
        return 0
    fi
    program_run start -k spawn -f "$(type -P true)" -n @X@ -- "$@"
}

group_limits() {
    row "page cache, 4 KiB" "pread preadv2 pwrite" cached "alone busy" limits_run @X@
    row "cold read, 4 KiB, is begun" preadv2 uncached alone limits_run begin
    row "cached read, 4 KiB, and the signal mask set" preadv2 cached alone limits_run told
    row "a thread is woken" futex none alone limits_run wakeup
}

# limits_run KIND SIDE X CACHE: system calls by themselves, with the other processors idle or busy.
limits_run() {
    local threads=1
    if [ "${proving:-no}" = yes ]; then
        way=
        return 0
    fi
    [ "$2" = alone ] || threads=$(nproc)
    program_run limits -k "$1" -f "$file" -n "$threads" -- "${@:2}"
}
