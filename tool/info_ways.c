/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which way each kind of request goes: asked of the library's own paio_choose_engine, with a
 * look at a descriptor as it would be.
 */
#include "info.h"

#include <fcntl.h>
#include <stdio.h>

#include "process.h"

/* A kind of request, on a descriptor of that kind, opened with those flags. */
struct request {
    const char *text;
    enum paio_code code;
    enum paio_kind kind;
    int flags;
    uint32_t memory; /* what is known of its filesystem */
    bool at_hand;    /* the data is in memory, and it is not much */
};

static const char *way_of(const struct request *request)
{
    struct paio_descriptor descriptor = { .memory = request->memory };
    struct aiocb cb = { .aio_nbytes = 4096 };
    struct paio_call call = {
        .cb = &cb,
        .code = request->code,
        .descriptor = &descriptor,
        .look = { .kind = request->kind, .flags = request->flags },
    };

    if (request->at_hand && !paio_settings.descriptor_order &&
        (request->memory & PAIO_MEMORY ||
         (request->code == PAIO_READ && !(request->flags & O_DIRECT) &&
          !(request->memory & PAIO_NO_NOWAIT))))
        return "inline";
    /* Inline where the filesystem writes without waiting: only writing would tell. */
    if (request->at_hand && !paio_settings.descriptor_order && request->code == PAIO_WRITE &&
        !request->flags && !(request->memory & PAIO_NO_NOWAIT))
        return "inline or pool";
    return paio_choose_engine(&call)->name;
}

static void print_row(const char *text, const char *way, const char *remark)
{
    printf("%-42s  %s%s%s\n", text, way, remark ? ", " : "", remark ? remark : "");
}

static void print_heading(void)
{
    printf("\n%-42s  %s\n", "REQUEST", "WAY");
}

void info_ways(void)
{
    const struct request requests[] = {
        { "read, in the page cache, at most 64 KiB", PAIO_READ, PAIO_KIND_REGULAR, 0, 0, true },
        { "read, other, buffered", PAIO_READ, PAIO_KIND_REGULAR, 0, 0, false },
        { "read, O_DIRECT", PAIO_READ, PAIO_KIND_REGULAR, O_DIRECT, 0, false },
        { "write, O_DIRECT", PAIO_WRITE, PAIO_KIND_REGULAR, O_DIRECT, 0, false },
        { "write, O_SYNC or O_DSYNC, buffered", PAIO_WRITE, PAIO_KIND_REGULAR, O_DSYNC, 0, false },
        { "write, other, at most 64 KiB", PAIO_WRITE, PAIO_KIND_REGULAR, 0, 0, true },
        { "write, other", PAIO_WRITE, PAIO_KIND_REGULAR, 0, 0, false },
        { "read on tmpfs, at most 64 KiB", PAIO_READ, PAIO_KIND_REGULAR, 0, PAIO_MEMORY, true },
        { "write on tmpfs, at most 64 KiB", PAIO_WRITE, PAIO_KIND_REGULAR, 0, PAIO_MEMORY, true },
        { "any, on a filesystem without RWF_NOWAIT", PAIO_READ, PAIO_KIND_REGULAR, 0,
          PAIO_NO_NOWAIT, true },
        { "aio_fsync", PAIO_FSYNC, PAIO_KIND_REGULAR, 0, 0, false },
        { "pipe, terminal, other stream", PAIO_READ, PAIO_KIND_STREAM, 0, 0, false },
        { "socket", PAIO_READ, PAIO_KIND_SOCKET, 0, 0, false },
        { "stream opened with O_NONBLOCK", PAIO_READ, PAIO_KIND_STREAM, O_NONBLOCK, 0, false },
        { "directory, device that can seek", PAIO_READ, PAIO_KIND_OTHER, 0, 0, false },
    };

    print_heading();
    for (unsigned i = 0; i < sizeof requests / sizeof requests[0]; i++)
        print_row(requests[i].text, way_of(&requests[i]), NULL);
}

void info_ways_of_file(const struct info_trial *trial)
{
    const uint32_t memory = trial->memory;
    const struct request reads[INFO_KINDS] = {
        [INFO_READ_CACHED] = { "read, in the page cache, at most 64 KiB", PAIO_READ,
                               PAIO_KIND_REGULAR, 0, memory, true },
        [INFO_READ_COLD] = { "read, other, buffered", PAIO_READ, PAIO_KIND_REGULAR, 0, memory,
                             false },
        [INFO_READ_DIRECT] = { "read, O_DIRECT", PAIO_READ, PAIO_KIND_REGULAR, O_DIRECT, memory,
                               true },
    };
    const struct request writes[] = {
        { "write, O_DIRECT", PAIO_WRITE, PAIO_KIND_REGULAR, O_DIRECT, memory, true },
        { "write, O_SYNC or O_DSYNC, at most 64 KiB", PAIO_WRITE, PAIO_KIND_REGULAR, O_DSYNC, memory,
          true },
        { "write, other, at most 64 KiB", PAIO_WRITE, PAIO_KIND_REGULAR, 0, memory, true },
        { "write, other", PAIO_WRITE, PAIO_KIND_REGULAR, 0, memory, false },
        { "aio_fsync", PAIO_FSYNC, PAIO_KIND_REGULAR, 0, memory, false },
    };

    print_heading();
    for (unsigned i = 0; i < INFO_KINDS; i++) {
        if (i == INFO_READ_DIRECT && !trial->direct)
            continue;
        print_row(reads[i].text, trial->tried[i] ? trial->tried[i] : way_of(&reads[i]),
                  trial->tried[i] ? "tried" : i == INFO_READ_DIRECT ? trial->untried : NULL);
    }
    for (unsigned i = trial->direct ? 0 : 1; i < sizeof writes / sizeof writes[0]; i++)
        print_row(writes[i].text, way_of(&writes[i]), NULL);
}

void info_ways_of_stream(mode_t mode)
{
    const enum paio_kind kind = S_ISDIR(mode)    ? PAIO_KIND_OTHER
                                : S_ISSOCK(mode) ? PAIO_KIND_SOCKET
                                                 : PAIO_KIND_STREAM;
    const struct request requests[] = {
        { "read, write", PAIO_READ, kind, 0, 0, false },
        { "read, write, opened with O_NONBLOCK", PAIO_READ, kind, O_NONBLOCK, 0, false },
        { "aio_fsync", PAIO_FSYNC, kind, 0, 0, false },
        { "any, if the device can seek", PAIO_READ, PAIO_KIND_OTHER, 0, 0, false },
    };
    unsigned count = S_ISCHR(mode) ? 4 : 3;

    print_heading();
    for (unsigned i = 0; i < count; i++)
        print_row(requests[i].text, way_of(&requests[i]), NULL);
}
