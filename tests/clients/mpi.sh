# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Runs mpiio.c on four ranks, for the clients openmpi and mpich.
#
#   mpi_exercise WRITES READS SYMBOL... -- MPIRUN [ARG...]
#
# WRITES and READS are the requests that the program's MPI-IO calls come to in that MPI. The
# program itself compares what each rank wrote with what another reads, all through the library;
# the file is then looked at without either.

mpi_exercise()
{
    local writes_wanted=$1 reads_wanted=$2 symbols=() library label round
    declare -gA took
    shift 2
    while [ "$1" != -- ]; do
        symbols+=("$1")
        shift
    done
    shift
    for library in glibc $engines; do
        for round in 1 2 3; do
            label=$library-$round
            on "$library" "$label" "$@" -n 4 "$work/mpiio" "$work/file"
            ok "$label: four ranks find what their neighbors wrote" \
                [ "$(grep -c 'what rank [0-3] wrote is right' "$work/$label/out")" = 4 ]
            ok "$label: the file is right" numbers_right "$work/file" $((2 * 4 * 512 * 1024))
            bound "$label" "${symbols[@]}"
            rm -f "$work/file"
            took[$library]=$seconds
            [ "$library" = glibc ] && continue
            ok "$label: ran on the $library engine" ran_on "$label" "$library"
            ok "$label: writes counted by the library" equal "$(counted "$label" "$writes")" "$writes_wanted"
            ok "$label: reads counted by the library" equal "$(counted "$label" "$reads")" "$reads_wanted"
        done
    done
    ratios "4 ranks, 64 MiB written and read"
}
