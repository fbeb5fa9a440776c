# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The shared library's binary interface is the recorded one, and a change would be seen.

test_abi() {
    local machine recorded
    machine=$(uname -m)
    recorded=$PROJECT/abi/libposix-aio.$machine.abi
    lacks abidiff && return
    [ -e "$recorded" ] || { skip "the interface was not recorded on $machine, only: $(cd "$PROJECT/abi" && ls)"; return; }

    ok "the interface is the recorded one" abi_same "$recorded" "$build/.libs/libposix-aio.so.1"

    # A library built from an altered copy, by the same command as one from an unaltered copy that
    # is found to be the same: what differs is the alteration.
    mkdir -p "$work/abi"
    cp -R "$PROJECT/src" "$PROJECT/include" "$work/abi"
    ok "a copy: no difference" altered_is_same
    sed 's/char __glibc_reserved\[32\];/long added; char __glibc_reserved[24];/' /usr/include/aio.h >"$work/abi/include/aio.h"
    ok "struct aiocb with a member more, of the same size: found" altered_differs "'struct aiocb'"
    rm "$work/abi/include/aio.h"
    sed -i 's/\(posix_aio_stat(const char \*name, \)uint64_t/\1uint32_t/' "$work/abi/include/posix-aio.h" "$work/abi/src"/*.c
    ok "a parameter of another type: found" altered_differs "posix_aio_stat"
    cp "$PROJECT/include/posix-aio.h" "$work/abi/include"
    cp "$PROJECT"/src/*.c "$work/abi/src"
    sed -i 's/\bposix_aio_engine\b/posix_aio_motor/' "$work/abi/src"/*.c "$work/abi/include/posix-aio.h"
    ok "a function that is gone: found" altered_differs "posix_aio_engine"
}

# Not even an addition passes: it is recorded with the commit that makes it.
abi_same() {
    abidiff --drop-private-types "$1" "$2" || {
        say "  recorded anew by scripts/package abi, if that is meant"
        return 1
    }
}

altered_build() {
    local sources
    mapfile -t sources < <(grep -L '^int main(' "$work/abi/src"/*.c)
    cc -shared -fPIC -g -pthread -fvisibility=hidden -fexceptions -D_GNU_SOURCE -DPIC -I"$work/abi/include" \
        -I"$work/abi/src" -I"$build" -Wl,-soname,libposix-aio.so.1 -o "$work/abi/altered.so" "${sources[@]}" \
        -laio >"$work/abi/cc.log" 2>&1 || { cat "$work/abi/cc.log"; return 1; }
}

altered_is_same() {
    altered_build && abi_same "$recorded" "$work/abi/altered.so"
}

altered_differs() {
    altered_build || return 1
    if abidiff "$recorded" "$work/abi/altered.so" >"$work/abi/report"; then
        say "  abidiff sees no change"
        return 1
    fi
    grep -F "$1" "$work/abi/report" | head -n 1 | grep . || { cat "$work/abi/report"; return 1; }
}
