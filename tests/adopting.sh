#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What doc/adopting.md tells people to write into their builds works: each fragment is taken from the
# document, put into a small project, and the program that comes out runs on the library.

set -eu
# shellcheck source=tests/shell.sh
. "${0%/*}/shell.sh"

if [ "${T_SANITIZER:-no}" != no ]; then
    echo "SKIP: the programs of other people's builds have no sanitizer, and the library here needs it in them"
    echo "0 passed, 0 failed, 1 skipped"
    exit 77
fi
tool=${T_TOOL:?} sources=$(cd "${0%/*}/.." && pwd) build=$(cd "${T_PROGRAMS:?}/.." && pwd)
compiler=${T_CC:-cc}

# The library as if installed: a pkg-config file for where it was built.
mkdir "$work/pkgconfig" "$work/lib"
cp -P "$build"/.libs/libposix-aio.so* "$work/lib"
sed -e "s|^libdir=.*|libdir=$work/lib|" -e "s|^includedir=.*|includedir=$sources/include|" \
    "$build/posix-aio.pc" >"$work/pkgconfig/posix-aio.pc"
export LD_LIBRARY_PATH="$work/lib"

# fragment NAME: the block of the document behind "<!-- tried: NAME -->"
fragment() {
    awk -v mark="<!-- tried: $1 -->" '
        $0 == mark { found = 1 }
        found && /^```/ { if (inside) exit; inside = 1; next }
        inside' "$sources/doc/adopting.md"
}

# at DIRECTORY COMMAND [ARG...]: there, with the library to be found, or not (pkg=no)
pkg=yes
at() {
    local directory=$1 path=$work/pkgconfig
    shift
    [ "$pkg" = yes ] || path=/nonexistent
    (cd "$directory" && PKG_CONFIG_LIBDIR=$path CC=$compiler "$@" >>"$work/out" 2>"$work/err")
}
# on_library PROGRAM: its request went through the library
# shellcheck disable=SC2329 # called through ok
on_library() {
    rm -f "$work/stats"
    LIBPOSIX_AIO_STATS=$work/stats "$1" /dev/null >"$work/out" && [ -e "$work/stats" ]
}
# shellcheck disable=SC2329 # called through ok
not_on_library() { ! on_library "$1"; }
have() { command -v "$1" >/dev/null; }

# The program that all of them build.
program() {
    cp "$sources/doc/examples/poll.c" "$1/program.c"
}

autoconf_project() {
    local dir=$work/autoconf
    mkdir "$dir" && program "$dir"
    { printf 'AC_INIT([program], [1])\nAC_CONFIG_AUX_DIR([aux])\nAM_INIT_AUTOMAKE([foreign])\nAC_PROG_CC\nPKG_PROG_PKG_CONFIG\n'
        fragment configure.ac
        printf 'AC_CONFIG_FILES([Makefile])\nAC_OUTPUT\n'; } >"$dir/configure.ac"
    { printf 'bin_PROGRAMS = program\nprogram_SOURCES = program.c\n'
        fragment Makefile.am; } >"$dir/Makefile.am"
    mkdir "$dir/aux"
    ok "autoconf takes the fragment" at "$dir" autoreconf -i
    ok "configure finds the library" at "$dir" ./configure
    ok "and the program is built" at "$dir" make
    ok "autoconf: it is on the library" on_library "$dir/program"
    ok "it can be refused" at "$dir" ./configure --without-posix-aio
    ok "and is not used then" at "$dir" make clean all
    ok "autoconf: it is not on the library" not_on_library "$dir/program"
    pkg=no
    ok "where it is missing the C library does" at "$dir" ./configure
    ok "unless it is insisted on" [ "$(at "$dir" ./configure --with-posix-aio && echo went on)" = "" ]
    pkg=yes
    ok "LIBS does without a fragment" at "$dir" ./configure --without-posix-aio \
        "LIBS=-L$work/lib -lposix-aio"
    at "$dir" make clean all
    ok "autoconf: with LIBS it is on the library" on_library "$dir/program"
}

cmake_project() {
    local dir=$work/cmake
    mkdir "$dir" && program "$dir"
    { printf 'cmake_minimum_required(VERSION 3.16)\nproject(program C)\nadd_executable(program program.c)\n'
        fragment CMakeLists.txt; } >"$dir/CMakeLists.txt"
    ok "CMake takes the fragment" at "$dir" cmake -S . -B one
    ok "and the program is built" at "$dir" cmake --build one
    ok "CMake: it is on the library" on_library "$dir/one/program"
    pkg=no
    ok "where it is missing the C library does" at "$dir" cmake -S . -B two \
        "-DCMAKE_C_STANDARD_LIBRARIES="
    ok "and the program is built" at "$dir" cmake --build two
    ok "CMake: it is not on the library" not_on_library "$dir/two/program"
    ok "a variable does without a fragment" at "$dir" cmake -S . -B three \
        "-DCMAKE_C_STANDARD_LIBRARIES=-L$work/lib -lposix-aio"
    at "$dir" cmake --build three
    ok "CMake: with it it is on the library" on_library "$dir/three/program"
    pkg=yes
}

by_hand() {
    local dir=$work/hand library="-L$work/lib -lposix-aio"
    mkdir "$dir" && program "$dir"
    # shellcheck disable=SC2086
    ok "behind the objects it is linked" at "$dir" $compiler program.c -o program -Wl,--as-needed $library
    ok "and used" on_library "$dir/program"
    # shellcheck disable=SC2086
    at "$dir" $compiler -Wl,--as-needed $library program.c -o program
    ok "before them it is left out" not_on_library "$dir/program"
    # shellcheck disable=SC2086
    at "$dir" $compiler -Wl,--no-as-needed $library -Wl,--as-needed program.c -o program
    ok "unless it must stay" on_library "$dir/program"
    (cd "$dir" && eval "$(fragment binding | sed 's|\./program|./program /dev/null|')") >"$work/out" || :
    ok "the bindings are shown" grep -q "to .*libposix-aio.so.1.*aio_read" "$work/out"
    ok "and none to the C library" [ "$(grep -c 'to .*libc.so' "$work/out")" = 0 ]
    { fragment optional.c
        printf 'int main(void) { tell(); return 0; }\n'; } >"$dir/optional.c"
    # shellcheck disable=SC2086
    ok "the optional one compiles" at "$dir" $compiler optional.c -o optional
    ok "and runs without the library" [ "$("$dir/optional")" = "asynchronous I/O: the C library's" ]
    ok "and with it" [ "$(LIBPOSIX_AIO_ENGINE=pool "$tool" run --quiet "--library=$work/lib/libposix-aio.so.1" \
        "$dir/optional")" = "asynchronous I/O: pool" ]
}

plugins() {
    local dir=$work/plugins library="-L$work/lib -lposix-aio" row
    mkdir "$dir"
    cat >"$dir/plugin.c" <<'EOF'
#define _GNU_SOURCE
#include <aio.h>
#include <dlfcn.h>
const char *whose(void) { static Dl_info info; dladdr((void *) aio_read, &info); return info.dli_fname; }
EOF
    cat >"$dir/host.c" <<'EOF'
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
int main(int n, char **v)
{
    void *plugin = dlopen(v[n - 1], RTLD_NOW);
    const char *(*whose)(void) = NULL;
    if (plugin)
        *(void **) &whose = dlsym(plugin, "whose");
    puts(!whose ? dlerror() : strstr(whose(), "libposix-aio") ? "ours" : "glibc");
    return 0;
}
EOF
    # shellcheck disable=SC2086
    ok "plugins and programs compile" at "$dir" sh -ec "
        $compiler -shared -fPIC plugin.c -o no.so
        $compiler -shared -fPIC plugin.c -o yes.so $library
        $compiler host.c -o host-no -ldl
        $compiler host.c -o host-yes -ldl -Wl,--no-as-needed $library"
    while read -r plugin host answer; do
        row=$("$dir/host-$host" "$dir/$plugin.so")
        ok "plugin linked: $plugin, program linked: $host, binds to $answer" [ "$row" = "$answer" ]
    done <<'EOF'
no no glibc
yes no glibc
no yes ours
yes yes ours
EOF
    row=$("$tool" run --quiet "--library=$work/lib/libposix-aio.so.1" "$dir/host-no" "$dir/no.so")
    ok "preloaded, it binds to ours" [ "$row" = ours ]
}

if ! have pkg-config; then
    skip "builds" "there is no pkg-config"
elif ! have autoreconf; then
    skip "autoconf's fragment" "there is no autoconf"
else
    autoconf_project
fi
if have pkg-config && have cmake; then
    cmake_project
else
    skip "CMake's fragment" "there is no CMake, or no pkg-config"
fi
by_hand
plugins
shell_end
