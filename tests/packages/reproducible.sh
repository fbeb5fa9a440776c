# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The release archive and the packages have the same bytes wherever and whenever they are made.

test_reproducible() {
    lacks_debian && return
    lacks dpkg-buildpackage dh rpmbuild faketime localedef unshare git autoreconf && return
    need_archive
    step "release archive, elsewhere" other_archive
    ok "the release archive has the same bytes" same_bytes "$work" "$work/source/build" "$(basename "$archive")"
    need_packages
    need_other_packages
    mapfile -t made < <(cd "$work/deb" && ls -- *.deb *.dsc *.tar.xz)
    ok "there are packages to compare" at_least "$(printf '%s\n' "${made[@]}" | grep -c '[.]deb$')" 5
    for file in "${made[@]}"; do
        ok "$file has the same bytes" same_bytes "$work/deb" "$other" "$file"
    done
    need_rpms
    need_other_rpms
    mapfile -t made < <(cd "$work/rpm" && ls -- *.rpm)
    ok "there are RPM packages to compare" at_least "${#made[@]}" 4
    for file in "${made[@]}"; do
        ok "$file has the same bytes" same_bytes "$work/rpm" "$other_rpms" "$file"
    done
}

# As "generate" of scripts/lib.sh does it.
generate_later() { faketime -f +400d libtoolize -ci && faketime -f +400d autoreconf -i; }

# From a copy of the sources: generated anew, configured and built in another place and language, at
# another time.
other_archive() {
    mkdir -p "$work/source/build"
    make_locale
    (cd "$PROJECT" && git ls-files -z --cached --others --exclude-standard | tar --null -T - -cf - --ignore-failed-read) |
        tar -C "$work/source" -xf - || return 1
    (
        umask 0077
        export NO_FAKE_STAT=1
        export HOME=/nonexistent TZ=Asia/Kathmandu LOCPATH="$work/locale" LC_ALL=tr_TR.UTF-8
        cd "$work/source" && generate_later &&
            cd build && faketime -f +400d ../configure && faketime -f +400d make dist
    ) >"$work/other-archive.log" 2>&1 || { tail "$work/other-archive.log"; return 1; }
}

# Says what differs where diffoscope is there to be asked.
same_bytes() {
    cmp "$1/$3" "$2/$3" && return
    sha256sum "$1/$3" "$2/$3"
    if command -v diffoscope >/dev/null; then
        diffoscope "$1/$3" "$2/$3" | head -n 60
    fi
    return 1
}
