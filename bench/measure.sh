# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# How a row of the benchmark is measured. Read by scripts/bench, whose variables it uses.
#
# A run leaves lines of a figure's name and its value in $work/figures: rate (per second), cpu (CPU
# seconds per million, of the whole process tree), p50 p99 p999 max first (microseconds), bytes,
# threads; or "note" and words, when there is no figure. Every run is a line per figure in
# $work/runs.GROUP:
#
#   row|x|cache|side|round|figure|value
#
# x is what the row is a series over (depth, size, count); round 0 is the proof, which is not measured.

# The names of the groups come from groups.sh.
# shellcheck disable=SC2154  # variables of scripts/bench

set_uncached() { evict "$file"; }
set_cached() { load "$file" "$CACHED_MIB"; }
set_none() { :; }

span_of() {
    if [ "$1" = cached ]; then echo "$CACHED_MIB"; else echo "$FILE_MIB"; fi
}

# --- Rows -------------------------------------------------------------------------------------

# Counts the rows of the chosen groups, for the progress that is shown.
count_rows() {
    rows=0 rows_done=0 counting=yes
    for group in $chosen; do
        "group_$group"
    done
    counting=no
}

# row TITLE XS CACHE SIDES COMMAND...: measures. COMMAND SIDE X is one run; "COMMAND..." SIDE X proof is
# its short form with the library's statistics kept. All XS are interleaved like the sides. $rounds: other than ROUNDS.
row() {
    local title=$1 xs=$2 cache=$3 sides=$4 round x side
    shift 4
    rows=$((rows + 1))
    [ "$counting" = no ] || return 0
    rows_done=$((rows_done + 1)) rows=$((rows - 1))
    printf '[%3d/%d %3d:%02d] %-46s' $rows_done $rows $((SECONDS / 60)) $((SECONDS % 60)) "$title, $xs ($cache)"
    given_up=' '
    for x in $xs; do
        "set_$cache"
        prove "$title" "$x" "$cache" "$@"
        case " $sides " in *" bare "*) proving=yes "$@" bare "$x" "$cache" ;; esac # it dies if it was not at work
    done
    for round in $(seq "${rounds:-$ROUNDS}"); do
        for x in $xs; do
            for side in $sides; do
                one_run "$title" "$x" "$cache" "$side" "$round" "$@"
            done
        done
        show_ratio "$title" "${xs##* }" "$round"
    done
    echo
}

# What did not finish once is not tried again.
one_run() {
    local title=$1 x=$2 cache=$3 side=$4 round=$5
    shift 5
    case $given_up in *" $side/$x "*) return 0 ;; esac
    "set_$cache"
    : >"$work/figures"
    "$@" "$side" "$x" "$cache"
    record "$title" "$x" "$cache" "$side" "$round"
    if grep -q '^note ' "$work/figures"; then
        given_up="$given_up$side/$x "
    fi
}

# record TITLE X CACHE SIDE ROUND: $work/figures into the runs.
record() {
    awk -v prefix="$1|$2|$3|$4|$5" '{
        name = $1
        sub(/^[^ ]+ /, "")
        print prefix "|" name "|" $0
    }' "$work/figures" >>"$work/runs.$group"
}

# The library was at work in this row, and which way its requests went.
prove() {
    local title=$1 x=$2 cache=$3
    shift 3
    : >"$work/figures"
    proving=yes "$@" ours "$x" "$cache"
    echo "way $way" >"$work/figures"
    record "$title" "$x" "$cache" ours 0
}

# The ways of $counted and $ways as shares: "kernel 98 %, pool 2 %".
shares() {
    echo "$ways" | awk -v all="$counted" '{
        for (i = 1; i < NF; i += 2) {
            split($i, part, ".")
            sum[part[2]] += $(i + 1)
        }
        for (way in sum)
            if (sum[way] / all >= 0.005)
                text = text (text ? " + " : "") way (sum[way] / all < 0.995 ? sprintf(" %.0f %%", sum[way] / all * 100) : "")
        print text
    }'
}

# The first figure of the round as ours to glibc's, for somebody who watches.
show_ratio() {
    awk -F '|' -v title="$1" -v x="$2" -v round="$3" '
        $1 == title && $2 == x && $5 == round && $6 != "note" && $6 != "done" {
            if (!figure && $4 == "ours")
                figure = $6
            value[$4, $6] = $7
        }
        END {
            base = value["glibc", figure]
            if (base > 0) printf " %6.2f", value["ours", figure] / base; else printf "      -"
        }' "$work/runs.$group"
}

# --- A run of fio -----------------------------------------------------------------------------

# fio_row TITLE DEPTH CACHE SIDES WORD...: 4 KiB unless the words say otherwise.
fio_row() {
    local title=$1 depth=$2 cache=$3 sides=$4
    shift 4
    row "$title" "$depth" "$cache" "$sides" fio_run "$@" --
}

# learn_start SIDE CACHE WORD...: what fio uses to start and to end, which is no cost of a request, into $start: the
# lesser of two runs. Rows share it whose words differ in nothing but what is done with the file: what fio
# allocates and opens is the same. Afterwards the page cache is as CACHE says again.
learn_start() {
    local side=$1 cache=$2 kept
    local per_request='^--(rw|direct|sync|invalidate|norandommap|random_generator|file_service)'
    shift 2
    kept=$work/start.$(printf '%s\n' "$side" "$@" | grep -vE "$per_request" | cksum | tr ' ' .)
    [ -e "$kept" ] || {
        for _ in 1 2; do
            run_fio "$side" "$@" --number_ios=1
            awk '{ print $1 + $2 }' "$work/cpu" >>"$kept"
        done
        "set_$cache"
    }
    start=$(sort -n "$kept" | head -n 1)
}

# fio_run WORD... -- SIDE X CACHE
fio_run() {
    local words=() side x cache start
    while [ "$1" != -- ]; do
        words+=("$1")
        shift
    done
    side=$2 x=$3 cache=$4
    case " ${words[*]}" in
    *" --filename"* | *" --directory"*) ;;
    *) words+=(--filename="$file" --size="$(span_of "$cache")m") ;;
    esac
    case " ${words[*]}" in
    *" --iodepth="*) ;;
    *) words+=(--iodepth="$x") ;;
    esac
    # A thread for each of the depth, and no AIO.
    [ "$side" != threads ] || words+=(--numjobs="$x" --thread)
    words=(--bs=4k --lat_percentiles=1 --slat_percentiles=1 --percentile_list=50:99:99.9 \
        --group_reporting "${words[@]}")
    if [ "${proving:-no}" = yes ]; then
        "prove_fio_$side" "${words[@]}" --number_ios=400
        return 0
    fi
    learn_start "$side" "$cache" "${words[@]}"
    run_fio "$side" "${words[@]}" --time_based=1 --runtime="${run_ms:-$TIME_MS}ms"
    fio_figures "$start" "${latency:-lat_ns}"
}

prove_fio_ours() {
    environment="LIBPOSIX_AIO_STATS=$work/stats.%p" run_fio ours "$@"
    issued=$(issued_by_fio)
    take_statistics
    [ "$issued" = "$counted" ] || die "fio made $issued requests and the library counted $counted"
    way=$(shares)
}

# It keeps no statistics: the dynamic linker must say that what fio calls of <aio.h> is all in $bare.
prove_fio_bare() {
    local name
    environment="LD_DEBUG=bindings LD_DEBUG_OUTPUT=$work/bindings" run_fio bare "$@"
    cat "$work"/bindings.* 2>/dev/null | grep 'binding file [^ ]*fio \[0\] to .*: normal symbol `aio_' >"$work/bindings" || true
    rm -f "$work"/bindings.*
    for name in aio_error aio_return; do
        grep -qE "symbol \`$name(64)?'" "$work/bindings" || die "fio calls no $name that the dynamic linker knows of"
    done
    if grep -vF " to $bare [0]: " "$work/bindings" >&2; then
        die "fio's functions of <aio.h> are not all those of $bare"
    fi
}

# fio_figures START LATENCY: reads the result of fio; latency percentiles of that kind.
fio_figures() {
    jq -r --arg latency "$2" '.jobs[0] | [.read, .write] |
        (map(.total_ios) | add), (map(.iops) | add),
        (max_by(.total_ios)[$latency].percentile // {} | .["50.000000"] // 0, .["99.000000"] // 0, .["99.900000"] // 0),
        (max_by(.total_ios)[$latency].max // 0)' "$work/result.json" | tr '\n' ' ' >"$work/fio.figures"
    awk -v start="$1" '
        NR == FNR { used = $1 + $2; next }
        {
            printf "done %d\nrate %.6g\ncpu %.6g\n", $1, $2, (used - start) / $1 * 1e6
            if ($3 > 0) printf "p50 %.6g\n", $3 / 1000
            if ($4 > 0 && $1 >= 100) printf "p99 %.6g\n", $4 / 1000
            if ($5 > 0 && $1 >= 1000) printf "p999 %.6g\n", $5 / 1000
            if ($6 > 0) printf "max %.6g\n", $6 / 1000
        }' "$work/cpu" "$work/fio.figures" >"$work/figures"
}

# --- A run of a program of ours ---------------------------------------------------------------

# program_run PROGRAM WORD... -- SIDE X CACHE: @X@ in a word becomes X. $within is a command put before it.
program_run() {
    local words=() preload='' status=0 keep='' milliseconds="${run_ms:-$TIME_MS}" patience="$PATIENCE"
    while [ "$1" != -- ]; do
        words+=("$1")
        shift
    done
    local side=$2 x=$3 cache=$4
    words=("${words[@]//@X@/$x}")
    words+=(-t "$milliseconds" -s "$(span_of "$cache")")
    [ "$side" != ours ] || preload=$library
    if [ "${proving:-no}" = yes ]; then
        keep="LIBPOSIX_AIO_STATS=$work/stats.%p"
        words+=(-t 50)
        patience=120
    fi
    # shellcheck disable=SC2086  # lists of words
    timeout --kill-after=5 "$patience" ${within:-} env ${preload:+LD_PRELOAD="$preload"} ${keep:+"$keep"} \
        "$programs/${words[0]}" "${words[@]:1}" >"$work/figures" 2>"$work/program.err" </dev/null || status=$?
    if [ $status = 124 ] && [ -z "$keep" ]; then
        echo "note did not finish in $patience s" >"$work/figures"
    elif [ $status != 0 ]; then
        cat "$work/program.err" >&2
        die "$side, status $status: ${words[*]}"
    fi
    [ "${proving:-no}" = yes ] || return 0
    take_statistics
    awk -v counted="$counted" '$1 == "done" { done = $2 } END { exit !(done > 0 && counted >= done) }' "$work/figures" ||
        die "the library counted $counted requests, and the program: $(tr '\n' ' ' <"$work/figures")"
    way=$(shares)
}
