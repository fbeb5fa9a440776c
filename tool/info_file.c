/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is true of a file, by trying without changing it. It is looked at before it is opened: what
 * is no file, directory or block device is not opened at all, for that could wait, or do something. It
 * is opened for reading only, and without touching its access time where that is allowed. Nothing
 * is read that could wait for anything but a disk: first comes RWF_NOWAIT, which a file that
 * waits for others (in /proc, on FUSE) does not know.
 */
#include "info.h"

#include <aio.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "stats.h"
#include "tool.h"

enum { BLOCK = 4096 }; /* that is read, once for each way; untried says the number too */

void info_filesystem(int fd, char *text, size_t size)
{
    char path[64], line[1024], id[32] = "", each[32], root[256], type[64], device[256];
    FILE *file;

    snprintf(text, size, "an unknown filesystem");
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
    file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file))
        sscanf(line, "mnt_id: %31s", id);
    if (file)
        fclose(file);
    file = fopen("/proc/self/mountinfo", "re");
    while (file && fgets(line, sizeof line, file)) {
        const char *rest = strstr(line, " - ");

        if (rest && sscanf(line, "%31s %*s %*s %*s %255s", each, root) == 2 &&
            sscanf(rest, " - %63s %255s", type, device) == 2 && strcmp(each, id) == 0)
            snprintf(text, size, "%s (%s at %s)", type, device, root);
    }
    if (file)
        fclose(file);
}

/* Opens anew what is open as a path only, for reading. */
static int reopen(int path_fd, int flags)
{
    char path[64];
    int fd;

    flags |= O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    snprintf(path, sizeof path, "/proc/self/fd/%d", path_fd);
    fd = open(path, flags | O_NOATIME);
    return fd < 0 && errno == EPERM ? open(path, flags) : fd;
}

/* Reads one block by aio_read: the way that it has gone, or NULL and errno. */
static const char *try_read(int fd, void *buffer)
{
    struct aiocb cb = { .aio_fildes = fd, .aio_buf = buffer, .aio_nbytes = BLOCK,
                        .aio_sigevent = { .sigev_notify = SIGEV_NONE } };
    const struct aiocb *list = &cb;
    uint64_t before[PAIO_WAYS];

    for (unsigned i = 0; i < PAIO_WAYS; i++)
        before[i] = paio_stats->counter[PAIO_STAT_DONE + i];
    if (aio_read(&cb) < 0)
        return NULL;
    while (aio_error(&cb) == EINPROGRESS)
        aio_suspend(&list, 1, NULL);
    if (aio_return(&cb) < 0)
        return NULL;
    for (unsigned i = 0; i < PAIO_WAYS; i++)
        if (paio_stats->counter[PAIO_STAT_DONE + i] != before[i])
            return paio_way_names[i];
    return NULL;
}

/* Does it know RWF_NOWAIT? 0, or the error. */
static int try_nowait(int fd, void *buffer)
{
    struct iovec vector = { buffer, BLOCK };

    if (preadv2(fd, &vector, 1, 0, RWF_NOWAIT) >= 0 || errno == EAGAIN)
        return 0;
    return errno;
}

static void try_buffered(int fd, void *buffer, struct info_trial *trial)
{
    const char *way;
    int error = try_nowait(fd, buffer);

    info_line("RWF_NOWAIT", "%s%s", error ? "fails: " : "works",
              error ? strerrorname_np(error) : "");
    trial->memory = paio_descriptor_recall(paio_descriptor_get(fd), fd);
    if (error)
        trial->memory |= PAIO_NO_NOWAIT;
    if (error && !(trial->memory & PAIO_MEMORY))
        return;
    way = try_read(fd, buffer);
    if (way && strcmp(way, "inline") != 0) {
        /* It was not in the page cache, and is now. */
        trial->tried[INFO_READ_COLD] = way;
        way = try_read(fd, buffer);
    }
    trial->tried[INFO_READ_CACHED] = way;
}

static void print_alignment(int fd)
{
#ifdef STATX_DIOALIGN
    struct statx st;

    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &st) == 0 && st.stx_mask & STATX_DIOALIGN &&
        st.stx_dio_offset_align) {
        info_line("O_DIRECT", "works; offset and length are multiples of %u, addresses of %u",
                  st.stx_dio_offset_align, st.stx_dio_mem_align);
        return;
    }
#else
    (void) fd;
#endif
    info_line("O_DIRECT", "works");
}

static void try_direct(int path_fd, off_t size, void *buffer, struct info_trial *trial)
{
    int fd = reopen(path_fd, O_DIRECT);

    trial->direct = fd >= 0;
    if (fd < 0) {
        info_line("O_DIRECT", "fails: %s", strerrorname_np(errno));
        return;
    }
    print_alignment(fd);
    /* What ends short at the end of the file says nothing of the others. */
    if (size < BLOCK)
        trial->untried = "not tried: the file is shorter than 4096 bytes";
    else if (trial->memory & PAIO_NO_NOWAIT)
        trial->untried = "not tried: without RWF_NOWAIT a read may wait";
    for (int i = 0; i < 2 && !trial->untried; i++)
        /* Twice: the first may have had to wait until the page cache was written back. */
        trial->tried[INFO_READ_DIRECT] = try_read(fd, buffer);
    close(fd);
}

static void try_file(int path_fd, int fd, void *buffer)
{
    struct info_trial trial = { 0 };

    try_buffered(fd, buffer, &trial);
    try_direct(path_fd, lseek(fd, 0, SEEK_END), buffer, &trial);
    info_ways_of_file(&trial);
}

static const char *type_of(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG: return "regular file";
    case S_IFBLK: return "block device";
    case S_IFDIR: return "directory: a read of it ends with EISDIR";
    case S_IFIFO: return "FIFO or pipe";
    case S_IFSOCK: return "socket";
    case S_IFCHR: return "character device (not opened here)";
    default: return "of an unknown type";
    }
}

static void print_file(const char *path, int path_fd, mode_t mode)
{
    char filesystem[640];

    info_filesystem(path_fd, filesystem, sizeof filesystem);
    info_line("file", "%s", path);
    info_line("type", "%s", type_of(mode));
    info_line("filesystem", "%s", filesystem);
    info_settings();
}

int info_file(const char *path)
{
    int path_fd = open(path, O_PATH | O_CLOEXEC), fd = -1;
    static _Alignas(BLOCK) char buffer[BLOCK];
    static struct paio_stats counters;
    struct stat st;
    bool data;

    if (path_fd < 0 || fstat(path_fd, &st) < 0) {
        tool_complain("%s: %s", path, strerror(errno));
        return TOOL_FAILED;
    }
    data = S_ISREG(st.st_mode) || S_ISBLK(st.st_mode);
    if (data && (fd = reopen(path_fd, 0)) < 0) {
        tool_complain("%s: cannot be opened for reading: %s", path, strerror(errno));
        return TOOL_FAILED;
    }
    paio_stats = &counters;
    print_file(path, path_fd, st.st_mode);
    if (data)
        try_file(path_fd, fd, buffer);
    else
        info_ways_of_stream(st.st_mode);
    return TOOL_OK;
}
