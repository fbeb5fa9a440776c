# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The RPM packages, built from the release archive with Debian's rpm.

test_rpm() {
    lacks rpmbuild rpm && return
    ok "libposix-aio.spec has the version of configure.ac" equal \
        "$(sed -n 's/^Version: *//p' "$PROJECT/libposix-aio.spec")" "$(upstream_version)"
    need_rpms
    rpm_files "$work/rpm" >"$work/rpm.files"
    ok "the packages have the files that rpm.files lists" same "$here/rpm.files" "$work/rpm.files"
    ok "the library's package provides the soname" rpm_provides
    ok "the program's package needs the library's of its version" rpm_requires
    ok "neither the library nor the program has a search path of its own" rpm_without_runpath
}

# rpm's own words, without a database of what is installed.
query() {
    rpm --dbpath "$work/rpm/db" "$@"
}

# Permissions, owner and name of each file in the packages of a directory.
rpm_files() {
    local package
    for package in "$1"/*.rpm; do
        query -qp --qf '%{NAME}:\n' "$package"
        query -qp --qf '[%{FILEMODES:perms} %{FILEUSERNAME}/%{FILEGROUPNAME} %{FILENAMES} %{FILELINKTOS}\n]' "$package" |
            sed -E "/[.]build-id(\/..)? *\$/d; s,/[0-9a-f]{2}/[0-9a-f]{38} ,/BUILD-ID ,; s/ \$//
                s,([.-])$(upstream_version)(/|\$),\1VERSION\2," | sort -k3
    done
}

rpm_provides() {
    query -qp --provides "$work"/rpm/libposix-aio-[0-9]*.rpm | grep -qx 'libposix-aio[.]so[.]1()(64bit)'
}

rpm_requires() {
    query -qp --requires "$work"/rpm/posix-aio-[0-9]*.rpm | grep -q "^libposix-aio(.*) = $(upstream_version)-"
}

rpm_without_runpath() {
    local package file
    for package in "$work"/rpm/libposix-aio-[0-9]*.rpm "$work"/rpm/posix-aio-[0-9]*.rpm; do
        (mkdir -p "$work/rpm/files" && cd "$work/rpm/files" && rpm2cpio "$package" | cpio -idm --quiet) || return 1
    done
    for file in "$work"/rpm/files/usr/lib64/libposix-aio.so.1 "$work"/rpm/files/usr/bin/posix-aio; do
        readelf -d "$file" >"$work/dynamic" || return 1
        ! grep 'RPATH\|RUNPATH' "$work/dynamic" || return 1
    done
}
