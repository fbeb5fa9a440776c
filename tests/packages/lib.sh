# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What the tests of the packages share, beside the assertions of ../assert.sh: skips, and the packages that they are about,
# each made once in a run, by scripts/package, when the first test asks for it:
#
#   need_archive            $archive: the release archive, by "make dist" in the build directory
#   need_packages           $work/deb: Debian packages with their tests run, by a user without rights
#   need_other_packages     $work/elsewhere/and/deeper: the same packages, built under other circumstances
#   need_old_packages       $work/old: packages of a lower version, $old_version
#   need_rpms               $work/rpm: RPM packages
#   need_other_rpms         $work/elsewhere/and/deeper/rpm: the same, built under other circumstances
#
# A test is a function test_NAME that asserts by "ok", and is skipped by "skip".

# A test that cannot be made here: a failure with CHECK_ALL=1. To be called before any assertion.
skip() {
    if [ "${CHECK_ALL:-0}" = 1 ]; then
        failed=$((failed + 1))
        say "  FAILED  skipped, but CHECK_ALL is set: $*"
    else
        skipped=$((skipped + 1))
        say "  SKIPPED: $*"
    fi
}

# lacks PROGRAM...: true, and the test skipped, where one of them is missing.
lacks() {
    local program
    for program; do
        [ -n "$(PATH=$PATH:/usr/sbin:/sbin command -v "$program")" ] && continue
        skip "there is no $program: scripts/install-deps packages installs it"
        return 0
    done
    return 1
}

# Without a repository there is no debian/: it is not in the release archive.
lacks_debian() {
    [ -d "$PROJECT/debian" ] && return 1
    skip "there is no debian/ here: it is in the project's repository, not in the release archive"
}

# The version that configure.ac tells.
upstream_version() { sed -n 's/^AC_INIT(\[libposix-aio\], \[\(.*\)\])$/\1/p' "$PROJECT/configure.ac"; }

# same EXPECTED FOUND: two files with the same text; prints how they differ.
same() { diff -u "$1" "$2" | sed 's/^/  /' && return "${PIPESTATUS[0]}"; }

# unprivileged DIRECTORY COMMAND [ARG...]: runs it there as a user without rights, if we have any, and
# without network.
unprivileged() {
    local directory=$1
    shift
    if [ "$(id -u)" = 0 ]; then
        chown -R nobody:nogroup "$directory"
        (cd "$directory" && offline setpriv --reuid=nobody --regid=nogroup --clear-groups \
            env HOME="$directory" USER=nobody LOGNAME=nobody PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@")
    else
        (cd "$directory" && offline env HOME="$directory" "$@")
    fi
}

# offline COMMAND [ARG...]: runs it in a network namespace of its own, which has the loopback device and
# nothing else, as Debian's build machines have it.
offline() {
    local map=()
    [ "$(id -u)" = 0 ] || map=(--map-root-user)
    # shellcheck disable=SC2016  # the inner shell's words
    unshare --net "${map[@]}" sh -c 'ip link set lo up && exec "$@"' sh "$@"
}

# A step that the tests stand on: its time is told, and its failure ends the run.
step() {
    local what=$1 begun=$SECONDS
    shift
    "$@" || die "$what: failed"
    say "  ($what: $((SECONDS - begun)) s)"
}

archive=
need_archive() {
    [ -z "$archive" ] || return 0
    step "release archive" make_archive
    archive=$work/$(basename "$build"/libposix-aio-*.tar.xz)
}

make_archive() {
    rm -f "$build"/libposix-aio-*.tar.xz
    make -C "$build" dist >"$work/dist.log" 2>&1 || { tail "$work/dist.log"; return 1; }
    cp "$build"/libposix-aio-*.tar.xz "$work"
}

# A copy of what makes packages, for another user to run.
copy_recipe() {
    mkdir -p "$1/recipe/scripts"
    cp "$PROJECT/scripts/package" "$PROJECT/scripts/lib.sh" "$1/recipe/scripts"
    cp -R "$PROJECT/debian" "$PROJECT/configure.ac" "$1/recipe"
}

need_packages() {
    [ ! -d "$work/deb" ] || return 0
    need_archive
    mkdir "$work/deb"
    copy_recipe "$work/deb"
    # The tests are not about the library here: the large ones are made smaller.
    step "Debian packages, with the library's tests" \
        unprivileged "$work/deb" T_SCALE=10 recipe/scripts/package deb -o "$work/deb" -a "$archive"
}

# Another directory, user, umask, time, zone, language and number of processors. Files keep the times
# that they have.
need_other_packages() {
    other=$work/elsewhere/and/deeper
    [ ! -d "$other" ] || return 0
    need_archive
    mkdir -p "$other"
    make_locale
    step "Debian packages, elsewhere" elsewhere "$PROJECT/scripts/package" deb -o "$other" -a "$archive"
}

# A language in which the capital of i is not I, in $work/locale.
make_locale() {
    [ ! -d "$work/locale" ] || return 0
    mkdir "$work/locale"
    localedef --no-archive -i tr_TR -f UTF-8 "$work/locale/tr_TR.UTF-8" >/dev/null 2>&1 ||
        die "localedef could not make tr_TR.UTF-8 (Debian: locales)"
}

elsewhere() {
    (umask 0027 && offline env HOME=/nonexistent TZ=Asia/Kathmandu LOCPATH="$work/locale" LC_ALL=tr_TR.UTF-8 \
        DEB_BUILD_OPTIONS="nocheck parallel=1" NO_FAKE_STAT=1 \
        faketime -f +400d "$@")
}

need_old_packages() {
    old_version=$(dpkg-parsechangelog -l "$PROJECT/debian/changelog" -S Version)~0
    [ ! -d "$work/old" ] || return 0
    need_archive
    step "Debian packages of version $old_version" env DEB_BUILD_OPTIONS="nocheck parallel=$(nproc)" \
        "$PROJECT/scripts/package" deb -o "$work/old" -a "$archive" -v "$old_version" -b
}

need_rpms() {
    [ ! -d "$work/rpm" ] || return 0
    need_archive
    step "RPM packages" "$PROJECT/scripts/package" rpm -o "$work/rpm" -a "$archive"
}

need_other_rpms() {
    other_rpms=$work/elsewhere/and/deeper/rpm
    [ ! -d "$other_rpms" ] || return 0
    need_archive
    mkdir -p "$other_rpms"
    make_locale
    step "RPM packages, elsewhere" elsewhere "$PROJECT/scripts/package" rpm -o "$other_rpms" -a "$archive"
}
