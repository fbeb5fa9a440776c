/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files, streams and their data for the tests: see t.h.
 */
#include "t.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <termios.h>

enum { CHUNK = 1 << 16 };

/* Data. */

unsigned char t_byte(off_t place)
{
    uint64_t word = ((uint64_t) place / 8 + 1) * 0x9e3779b97f4a7c15;

    return word >> (place % 8 * 8);
}

void t_fill(void *buf, size_t length, off_t place)
{
    unsigned char *bytes = buf;

    for (size_t i = 0; i < length; i++)
        bytes[i] = t_byte(place + (off_t) i);
}

void t_assert_data(const void *buf, size_t length, off_t place)
{
    const unsigned char *bytes = buf;

    for (size_t i = 0; i < length; i++)
        if (bytes[i] != t_byte(place + (off_t) i))
            ck_abort_msg("byte %zu of %zu is %#x, but byte %lld of the file is %#x", i, length,
                         bytes[i], (long long) place + (long long) i, t_byte(place + (off_t) i));
}

/* Files. */

int t_empty_file(void)
{
    int fd = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    char name[] = "t-file-XXXXXX";

    if (fd < 0) {
        fd = mkostemp(name, O_CLOEXEC);
        ck_assert_msg(fd >= 0, "mkostemp: %s", strerror(errno));
        unlink(name);
    }
    return fd;
}

static void fill_file(int fd, size_t size)
{
    static unsigned char chunk[CHUNK];

    for (size_t done = 0; done < size; done += CHUNK) {
        size_t length = size - done < CHUNK ? size - done : CHUNK;

        t_fill(chunk, length, (off_t) done);
        ck_assert_int_eq(pwrite(fd, chunk, length, (off_t) done), length);
    }
}

int t_cached_file(size_t size)
{
    int fd = t_empty_file();

    fill_file(fd, size);
    return fd;
}

int t_cold_file(size_t size)
{
    int fd = t_cached_file(size);

    t_make_cold(fd);
    return fd;
}

int t_memory_file(size_t size)
{
    int fd = memfd_create("t", MFD_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    fill_file(fd, size);
    return fd;
}

static bool is_cold(int fd)
{
    struct stat st;
    unsigned char *present;
    size_t pages, n = 0;
    void *map;

    ck_assert_int_eq(fstat(fd, &st), 0);
    pages = (st.st_size + 4095) / 4096;
    map = mmap(NULL, st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    ck_assert(map != MAP_FAILED);
    present = calloc(1, pages);
    ck_assert_int_eq(mincore(map, st.st_size, present), 0);
    for (size_t i = 0; i < pages; i++)
        n += present[i] & 1;
    free(present);
    munmap(map, st.st_size);
    return n == 0;
}

void t_make_cold(int fd)
{
    ck_assert_int_eq(fsync(fd), 0);
    t_until(!posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) && is_cold(fd));
    ck_assert_int_eq(posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM), 0);
}

int t_reopen(int fd, int flags)
{
    char path[32];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, flags | O_CLOEXEC);
}

void *t_aligned(size_t size)
{
    void *memory = NULL;

    ck_assert_int_eq(posix_memalign(&memory, 4096, size), 0);
    memset(memory, 0, size);
    return memory;
}

int t_slow_file(int file, size_t size, int flags)
{
    int fd;

    ck_assert_uint_le(size, SLOWFS_CAPACITY);
    t_fill(slowfs_data(file), size, 0);
    slowfs_set_size(file, size);
    fd = slowfs_open(file, flags);
    ck_assert_msg(fd >= 0, "the slow filesystem's file: %s", strerror(-fd));
    return fd;
}

/* Streams. */

struct t_pair t_pipe(void)
{
    int fds[2];

    ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
    return (struct t_pair){ .in = fds[0], .out = fds[1] };
}

struct t_pair t_fifo(void)
{
    char directory[] = "t-fifo-XXXXXX", path[32];
    struct t_pair pair;

    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/fifo", directory);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    pair.in = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    pair.out = open(path, O_WRONLY | O_CLOEXEC);
    ck_assert(pair.in >= 0 && pair.out >= 0);
    ck_assert_int_eq(fcntl(pair.in, F_SETFL, 0), 0);
    unlink(path);
    rmdir(directory);
    return pair;
}

struct t_pair t_socketpair(int type)
{
    int fds[2];

    ck_assert_int_eq(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds), 0);
    return (struct t_pair){ .in = fds[0], .out = fds[1] };
}

struct t_pair t_tcp(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET };
    socklen_t length = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct t_pair pair;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ck_assert_int_eq(bind(listener, (struct sockaddr *) &address, length), 0);
    ck_assert_int_eq(listen(listener, 1), 0);
    ck_assert_int_eq(getsockname(listener, (struct sockaddr *) &address, &length), 0);
    pair.out = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(pair.out, (struct sockaddr *) &address, length), 0);
    pair.in = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    ck_assert_int_ge(pair.in, 0);
    close(listener);
    return pair;
}

struct t_pair t_pty(void)
{
    struct t_pair pair = { .out = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC) };
    struct termios settings;
    char name[64];

    ck_assert_int_ge(pair.out, 0);
    ck_assert(!grantpt(pair.out) && !unlockpt(pair.out));
    ck_assert_int_eq(ptsname_r(pair.out, name, sizeof(name)), 0);
    pair.in = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    ck_assert_int_ge(pair.in, 0);
    ck_assert_int_eq(tcgetattr(pair.in, &settings), 0);
    cfmakeraw(&settings);
    ck_assert_int_eq(tcsetattr(pair.in, TCSANOW, &settings), 0);
    return pair;
}

/* Waits until the descriptor is ready, so that a lost byte ends the test and does not hang it. */
static void await(int fd, short events)
{
    struct pollfd one = { .fd = fd, .events = events };

    ck_assert_msg(poll(&one, 1, (int) (t_patience() * 1000)) == 1, "a stream is not ready");
}

void t_put(int fd, off_t place, size_t length)
{
    unsigned char chunk[4096];

    while (length) {
        size_t want = length < sizeof(chunk) ? length : sizeof(chunk);
        ssize_t n;

        t_fill(chunk, want, place);
        n = write(fd, chunk, want);
        ck_assert_msg(n > 0, "write: %s", strerror(errno));
        place += n;
        length -= (size_t) n;
    }
}

void t_take(int fd, off_t place, size_t length)
{
    static unsigned char chunk[CHUNK];

    while (length) {
        ssize_t n;

        await(fd, POLLIN);
        n = read(fd, chunk, length < CHUNK ? length : CHUNK);
        ck_assert_msg(n > 0, "read: %zd: %s", n, strerror(errno));
        t_assert_data(chunk, (size_t) n, place);
        place += n;
        length -= (size_t) n;
    }
}

size_t t_fill_up(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    unsigned char chunk[4096];
    size_t total = 0;
    ssize_t n;

    ck_assert_int_eq(fcntl(fd, F_SETFL, flags | O_NONBLOCK), 0);
    do {
        t_fill(chunk, sizeof(chunk), (off_t) total);
        n = write(fd, chunk, sizeof(chunk));
        total += n > 0 ? (size_t) n : 0;
    } while (n > 0);
    ck_assert_int_eq(errno, EAGAIN);
    ck_assert_int_eq(fcntl(fd, F_SETFL, flags), 0);
    return total;
}
