# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# An XRootD server on the loopback interface, for the clients xrootd-client and xrootd-server.
#
#   server_start LIBRARY LABEL            its address is then in $server, its files in $work/export
#   server_stop LABEL

# The server will not run as root; whoever we are, it can be nobody, and writes to $work/export.
server_start()
{
    local library=$1 label=$2 tries port
    mkdir -p "$work/export/data" "$work/admin-$label"
    chown -R nobody "$work/export" "$work/admin-$label"
    # A port that nobody has: the kernel's own choice for a socket that is closed again.
    port=$(perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1")->sockport')
    server=root://127.0.0.1:$port
    # Asynchronous I/O is forced on requests of any size. "Debug" takes it where the file system
    # layer would rather have none, as this one says; sendfile, preferred for reading, is off.
    cat > "$work/$label.cf" <<-EOF
	xrd.port $port
	all.export /data
	oss.localroot $work/export
	all.adminpath $work/admin-$label
	all.pidpath $work/admin-$label
	xrootd.async Debug force nosf minsize 4096 segsize 65536 limit 64 maxsegs 64
	xrootd.chksum adler32
	EOF
    start "$library" "$label" xrootd -R nobody -I v4 -n "$label" -k 0 -c "$work/$label.cf"
    for ((tries = 0; tries < 100; tries++)); do
        grep -qs "initialization completed" "$work/$label/out" && return 0
        kill -0 "$child" 2> /dev/null || return 1
        sleep 0.1
    done
    return 1
}

server_stop()
{
    kill -TERM "$(cat "$work/$1/session")"
    # It ends by that signal, as such servers do.
    expected_status=143 finish "$1"
}
