/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Waiting by aio_suspend: copies a file with several requests in flight. Each slot reads a block
 * and then writes it; the program sleeps until any slot has something to go on with.
 *
 *   cc suspend.c -o suspend $(pkg-config --cflags --libs posix-aio)
 *   ./suspend FROM TO
 */
#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

enum { SLOTS = 8, BLOCK = 65536 };

static struct slot {
    struct aiocb cb;
    bool busy, writing;
    size_t length;  /* of what is being written, from place on */
    size_t written; /* of that */
    off_t place;
    char block[BLOCK];
} slots[SLOTS];

static int from, to;
static off_t next; /* the place of the next block to be read */
static bool at_end;

static int start_read(struct slot *slot)
{
    slot->cb = (struct aiocb){ .aio_fildes = from,
                               .aio_buf = slot->block,
                               .aio_nbytes = BLOCK,
                               .aio_offset = next,
                               .aio_sigevent = { .sigev_notify = SIGEV_NONE } };
    slot->place = next;
    slot->busy = true;
    slot->writing = false;
    next += BLOCK;
    return aio_read(&slot->cb);
}

static int start_write(struct slot *slot)
{
    slot->cb = (struct aiocb){ .aio_fildes = to,
                               .aio_buf = slot->block + slot->written,
                               .aio_nbytes = slot->length - slot->written,
                               .aio_offset = slot->place + (off_t) slot->written,
                               .aio_sigevent = { .sigev_notify = SIGEV_NONE } };
    slot->writing = true;
    return aio_write(&slot->cb);
}

/* A request of the slot is done: starts what follows. -1 and errno if it failed. */
static int go_on(struct slot *slot)
{
    int error = aio_error(&slot->cb);
    ssize_t n = aio_return(&slot->cb);

    if (n < 0) {
        errno = error; /* aio_return need not set it */
        return -1;
    }
    if (!slot->writing) {
        at_end = at_end || n < BLOCK; /* a regular file: a short read is its end */
        slot->length = (size_t) n;
        slot->written = 0;
    } else {
        slot->written += (size_t) n; /* it may be less than was asked for */
    }
    if (slot->written < slot->length)
        return start_write(slot);
    slot->busy = false;
    return at_end ? 0 : start_read(slot);
}

/* Sleeps until one of the slots is done. The list may hold NULL for those that are not in use. */
static int wait_for_any(void)
{
    const struct aiocb *list[SLOTS];
    bool any = false;

    for (int i = 0; i < SLOTS; i++) {
        list[i] = slots[i].busy ? &slots[i].cb : NULL;
        any = any || slots[i].busy;
    }
    if (!any)
        return 0;
    while (aio_suspend(list, SLOTS, NULL) < 0)
        if (errno != EINTR) /* a signal handler has run: sleep again */
            return -1;
    return 1;
}

static int copy(void)
{
    int more;

    for (int i = 0; i < SLOTS; i++)
        if (start_read(&slots[i]) < 0)
            return -1;
    while ((more = wait_for_any()) > 0)
        for (int i = 0; i < SLOTS; i++)
            if (slots[i].busy && aio_error(&slots[i].cb) != EINPROGRESS && go_on(&slots[i]) < 0)
                return -1;
    return more;
}

int main(int argc, char *argv[])
{
    if (argc != 3) {
        fprintf(stderr, "usage: suspend FROM TO\n");
        return 2;
    }
    from = open(argv[1], O_RDONLY);
    to = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (from < 0 || to < 0 || copy() < 0 || close(to) < 0) {
        perror("suspend");
        return 1;
    }
    return 0;
}
