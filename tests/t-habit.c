/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Threads that wait at once: see t-habit.h.
 */
#include "t-habit.h"

#include <fcntl.h>

int t_slow_to_write(void)
{
    return t_reopen(t_cached_file(T_HABIT_SIZE), O_RDWR | O_DSYNC);
}

void t_at_once(const struct aiocb *cb)
{
    const struct aiocb *const list[] = { cb };

    ck_assert_int_eq(aio_suspend(list, 1, NULL), 0);
}

void t_wait_for_any_of(const struct aiocb *cbs, unsigned count)
{
    const struct aiocb *list[T_HABIT_MANY];
    int left;

    ck_assert_uint_le(count, T_HABIT_MANY);
    do {
        left = 0;
        for (unsigned i = 0; i < count; i++)
            if (aio_error(&cbs[i]) == EINPROGRESS)
                list[left++] = &cbs[i];
        if (left)
            ck_assert_int_eq(aio_suspend(list, left, NULL), 0);
    } while (left);
}

void t_write_at_once(struct aiocb *cb, int fd, const void *block, off_t place)
{
    t_submit_write(cb, fd, block, T_BLOCK, place);
    t_at_once(cb);
    t_assert_done(cb, T_BLOCK);
}

/* Until the counter moves. */
static void write_at_once_until(int fd, const char *counter)
{
    double end = t_now() + t_patience();
    unsigned char block[T_BLOCK];
    struct aiocb cb;
    uint64_t before;

    t_fill(block, T_BLOCK, 0);
    do {
        before = t_stat(counter);
        t_write_at_once(&cb, fd, block, 0);
        ck_assert_msg(t_now() < end, "%s does not move", counter);
    } while (t_stat(counter) == before);
}

void t_form_habit(int fd)
{
    write_at_once_until(fd, "write.waiter");
}

void t_be_granted(int fd)
{
    write_at_once_until(fd, "write.inline");
}

void t_leave_write(struct aiocb *cb, int fd, void *block, off_t place)
{
    t_form_habit(fd);
    t_fill(block, T_BLOCK, place);
    t_submit_write(cb, fd, block, T_BLOCK, place);
}

void t_assert_written(int fd, off_t place)
{
    unsigned char found[T_BLOCK];

    ck_assert_int_eq(pread(fd, found, T_BLOCK, place), T_BLOCK);
    t_assert_data(found, T_BLOCK, place);
}
