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
        (cd "$PROJECT" && autoreconf -i) >"$BUILD_ROOT/autoreconf.log" 2>&1 ||
            { cat "$BUILD_ROOT/autoreconf.log" >&2; die "autoreconf failed"; }
        touch "$newest"
    fi
}

# configure_into DIRECTORY ARGUMENT...: an out-of-tree configured directory, answers in its configure.log.
configure_into() {
    directory=$1
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
