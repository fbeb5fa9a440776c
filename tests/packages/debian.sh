# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The Debian packages: built with their tests, their files, what lintian says.

test_debian() {
    lacks_debian && return
    lacks dpkg-buildpackage dh lintian && return
    ok "debian/changelog has the version of configure.ac" equal \
        "$(dpkg-parsechangelog -l "$PROJECT/debian/changelog" -S Version | sed 's/-[^-]*$//')" "$(upstream_version)"
    need_packages
    ok "the library's tests ran in the build, and none failed" tests_ran "$work/deb/deb.log"
    debian_files "$work/deb" >"$work/debian.files"
    ok "the packages have the files that debian.files lists" same "$here/debian.files" "$work/debian.files"
    ok "debug symbols are found by the build ID" debug_symbols
    ok "all hardening is in the program" hardened
    ok "the library needs libaio and the C library, nothing else" equal "$(needed)" "libaio libc"
    ok "the symbols file has just what the library exports" symbols_listed
    ok "lintian: neither error nor warning" lintian_clean
}

# summed WORD LOG: what Automake's summaries, one for each directory with tests, say for it.
summed() { awk -v word="$1:" '$1 == "#" && $2 == word { sum += $3 } END { print sum + 0 }' "$2"; }

# More than a few passed, and the others were skipped.
tests_ran() {
    local count pass skip
    count=$(summed TOTAL "$1")
    pass=$(summed PASS "$1")
    skip=$(summed SKIP "$1")
    grep '^SKIP: ' "$1" | sed 's/^/  /'
    say "  $count test programs: $pass passed, $skip skipped"
    [ "$pass" -gt 10 ] && [ $((pass + skip)) = "$count" ]
}

# Permissions, owner and name of each file in the packages of a directory, but not of directories.
debian_files() {
    local package
    for package in "$1"/*.deb; do
        say "$(dpkg-deb -f "$package" Package):"
        dpkg-deb -c "$package" | awk '!/^d/ { printf "%s %s", $1, $2; for (i = 6; i <= NF; i++) printf " %s", $i; print "" }' |
            sed -E "s,/$(dpkg-architecture -qDEB_HOST_MULTIARCH)/,/TRIPLET/,g
                s,/[0-9a-f]{2}/[0-9a-f]{38}\.debug,/BUILD-ID.debug,; s,[.]$(upstream_version)\$,.VERSION,
                s,[.]dwz/.*,.dwz/FILE," | sort -k3
    done
}

unpacked() {
    [ -d "$work/unpacked" ] && return
    local package
    for package in "$work"/deb/*.deb; do
        dpkg-deb -x "$package" "$work/unpacked" || return 1
    done
}

debug_symbols() {
    unpacked || return 1
    local file id
    for file in "$work"/unpacked/usr/bin/posix-aio "$work"/unpacked/usr/lib/*/libposix-aio.so.1; do
        id=$(readelf -n "$file" | sed -n 's/.*Build ID: //p')
        readelf -S "$work/unpacked/usr/lib/debug/.build-id/${id:0:2}/${id:2}.debug" 2>/dev/null | grep -q '[.]debug_info' || {
            say "  none for $file"
            return 1
        }
    done
}

hardened() {
    unpacked || return 1
    local program=$work/unpacked/usr/bin/posix-aio
    readelf -hW "$program" | grep -q 'Type: *DYN (Position-Independent Executable' &&
        readelf -dW "$program" | grep -q 'FLAGS.*BIND_NOW\|FLAGS_1.*NOW' &&
        readelf -lW "$program" | grep -q GNU_RELRO &&
        readelf -sW "$program" | grep -q '__[a-z]*_chk\|__stack_chk_fail'
}

# The names of the libraries that the library needs.
needed() {
    unpacked && readelf -dW "$work"/unpacked/usr/lib/*/libposix-aio.so.1 |
        sed -n 's/.*(NEEDED).*\[\(.*\)[.]so[.].*/\1/p' | sort | xargs
}

symbols_listed() {
    sed -n 's/^ \(.*\)@Base .*/\1/p' "$PROJECT/debian/libposix-aio1.symbols" | same "$PROJECT/tests/symbols.list" -
}

lintian_clean() {
    local root=()
    [ "$(id -u)" != 0 ] || root=(--allow-root)
    lintian "${root[@]}" --fail-on error,warning --display-info --pedantic "$work"/deb/*.changes >"$work/lintian.out" 2>&1
    local status=$?
    sed 's/^/  lintian: /' "$work/lintian.out"
    return $status
}
