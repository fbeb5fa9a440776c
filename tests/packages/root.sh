# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# shellcheck disable=SC2016  # the formats of apt and dpkg have words with a dollar
#
# The Debian packages in a fresh Debian 12: installed, upgraded, removed, purged, nothing left; then
# the tests in debian/tests, by autopkgtest.

test_root() {
    lacks_debian && return
    lacks dpkg-buildpackage dh debootstrap autopkgtest unshare && return
    [ "$(id -u)" = 0 ] || { skip "only root can make a root directory and work in it"; return; }
    need_packages
    need_old_packages
    root=$work/root
    mkdir "$root"
    step "a fresh Debian 12" debootstrap --variant=minbase bookworm "$root" "$(mirror)" >"$work/debootstrap.log"
    prepare_root
    list_root >"$work/before"

    packages=(libposix-aio1 libposix-aio-dev posix-aio libposix-aio1-dbgsym posix-aio-dbgsym)
    new_version=$(dpkg-parsechangelog -l "$PROJECT/debian/changelog" -S Version)
    ok "$old_version is the lower version" dpkg --compare-versions "$old_version" lt "$new_version"
    ok "installs version $old_version" install_packages "$work/old"
    ok "all packages have it" version_is "$old_version"
    ok "upgrades to $new_version" install_packages "$work/deb"
    ok "all packages have it" version_is "$new_version"
    ok "the installed files are the packages'" inside dpkg --verify "${packages[@]}"
    ok "the program runs, and is of that version" program_is "$(upstream_version)"
    ok "the dynamic linker knows the library" linker_knows
    ok "a program starts with the library in front" library_in_front
    list_root >"$work/installed"
    ok "the packages had put something there" at_least "$(comm -13 "$work/before" "$work/installed" | grep -c posix)" 15
    ok "removes" apt remove "${packages[@]}"
    ok "nothing but dpkg's notes is left" nothing_of_ours -e '^/var/lib/dpkg/'
    ok "installs again" install_packages "$work/deb"
    ok "purges, with what was installed for them" apt purge --auto-remove "${packages[@]}"
    ok "nothing is left" nothing_of_ours -e '^$'
    list_root >"$work/after"
    ok "the root is as it was" same "$work/before" "$work/after"

    ok "debian/tests pass" autopkgtests
}

# The mirror that this machine takes Debian from.
mirror() {
    local sites
    sites=$(apt-get indextargets --format '$(SITE)' 'Origin: Debian' 'Codename: bookworm' 2>/dev/null | sort -u | head -n 1)
    say "${sites:-http://deb.debian.org/debian}"
}

# Names are looked up as outside; no daemon starts.
prepare_root() {
    cp /etc/resolv.conf /etc/hosts "$root/etc/"
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
    echo 'Dpkg::Use-Pty "0";' >"$root/etc/apt/apt.conf.d/99no-terminal"
    mkdir "$root/packages"
}

# In the root, with /proc of processes of its own. What is mounted and started there ends with it.
inside() {
    unshare --mount --pid --fork --kill-child --mount-proc="$root/proc" \
        chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@" \
        </dev/null
}

# apt COMMAND...: in the root; its words are shown when it fails.
apt() {
    inside apt-get -qq --no-install-recommends "$@" >"$work/apt.log" 2>&1 || {
        tail "$work/apt.log"
        return 1
    }
}

install_packages() {
    local status=0
    cp "$1"/*.deb "$root/packages"
    (cd "$root" && apt install ./packages/*.deb) || status=1
    rm -f "$root"/packages/*
    return $status
}

version_is() {
    local package found
    for package in "${packages[@]}"; do
        found=$(inside dpkg-query -W -f '${db:Status-Status} ${Version}' "$package")
        equal "$found" "installed $1" || return 1
    done
}

program_is() { equal "$(inside posix-aio --version)" "posix-aio $1"; }

linker_knows() { inside ldconfig -p | grep -q '^[[:space:]]libposix-aio[.]so[.]1 .* => /'; }

library_in_front() {
    inside env LD_PRELOAD=libposix-aio.so.1 cat /proc/self/maps | grep -q '/libposix-aio[.]so[.]1'
}

# nothing_of_ours GREP_ARGUMENT...: no file with the project's name but those that grep finds
nothing_of_ours() {
    local left
    left=$(find "$root" -path "$root/proc" -prune -o -path "$root/var/cache" -prune -o -path "$root/var/log" -prune -o \
        -name '*posix-aio*' -printf '/%P\n' | grep -v "$@")
    [ -z "$left" ] || { say "  $left"; return 1; }
    ! grep -a posix-aio "$root/etc/ld.so.cache" "$root"/var/lib/dpkg/triggers/* || return 1
}

# Every file's name, owner and permissions, the contents of those in etc and usr, and what is installed.
# Caches and logs are no part of it.
list_root() {
    {
        (cd "$root" && find . -mindepth 1 \( -path ./proc -o -path ./dev -o -path ./tmp -o -path ./packages -o -path ./var/cache \
            -o -path ./var/log -o -path ./var/lib/apt \) -prune -o -printf '%M %u %g %p %l\n')
        (cd "$root" && find etc usr -type f ! -name ld.so.cache -exec sha256sum {} +)
        inside dpkg-query -W -f '${Package} ${Version} ${db:Status-Abbrev}\n'
    } | sort
}

# The tests come with the sources; the packages are those under test.
autopkgtests() {
    local tree=$work/autopkgtest begun=$SECONDS
    mkdir -p "$tree/libposix-aio"
    cp -R "$PROJECT/debian" "$tree/libposix-aio"
    unshare --mount --pid --fork --kill-child --mount-proc sh -c 'mount -t proc proc "$0/proc" && exec "$@"' "$root" \
        autopkgtest --no-built-binaries --output-dir "$tree/results" --summary-file "$tree/summary" \
        "$work"/deb/*.deb "$tree/libposix-aio" -- chroot "$root" </dev/null >"$tree/log" 2>&1
    local status=$?
    say "  (autopkgtest: $((SECONDS - begun)) s)"
    sed 's/^/  /' "$tree/summary"
    sed 's/^/  /' "$tree"/results/*-stdout
    [ $status = 0 ] || { tail -n 20 "$tree"/results/*-stderr; tail -n 5 "$tree/log"; return 1; }
    equal "$(grep -c ' PASS' "$tree/summary")" "$(grep -c '^Tests:' "$PROJECT/debian/tests/control")"
}
