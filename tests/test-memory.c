/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A system that has no memory for a moment, whenever that is: what is refused says EAGAIN, and has not been done; what
 * is accepted is done.
 */
#include "t.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { SIZE = 65536, BLOCK = 4096, NEVER = -2, POINTS = 16 };

static atomic_int left = NEVER; /* mappings until there is no memory for two: who fails may ask again */
static unsigned char *memory, *data;
static struct t_pair stream;
static int cached, cold, direct;

/* A stand-in for the C library's, for the library too. A sanitizer would call it before there is a C library. */
#if !T_SANITIZED
void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
    void *(*next)(void *, size_t, int, int, int, off_t) =
        (void *(*) (void *, size_t, int, int, int, off_t) ) dlsym(RTLD_NEXT, "mmap");
    int now = flags & MAP_ANONYMOUS ? atomic_load(&left) : NEVER;

    while (now > NEVER && !atomic_compare_exchange_weak(&left, &now, now - 1))
        ;
    if (now > NEVER && now <= 0) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return next(address, length, protection, flags, fd, offset);
}
#endif

/* Is the call accepted? If not, it says why. */
static bool is_accepted(int result)
{
    ck_assert_msg(!result || errno == EAGAIN, "refused: %s", strerror(errno));
    return !result;
}

static unsigned read_file(int fd)
{
    struct aiocb cb;

    t_prepare(&cb, fd, memory, BLOCK, BLOCK);
    memset(memory, 0, BLOCK);
    if (fd < 0 || !is_accepted(aio_read(&cb)))
        return 0;
    t_wait_done(&cb, BLOCK);
    t_assert_data(memory, BLOCK, BLOCK);
    return 1;
}

/* At the end of the file. */
static unsigned write_file(int fd)
{
    struct aiocb cb;
    bool accepted;

    if (fd < 0)
        return 0;
    ck_assert_int_eq(ftruncate(fd, SIZE), 0);
    t_fill(data, BLOCK, SIZE);
    t_prepare(&cb, fd, data, BLOCK, SIZE);
    accepted = is_accepted(aio_write(&cb));
    if (accepted)
        t_wait_done(&cb, BLOCK);
    ck_assert_int_eq(lseek(fd, 0, SEEK_END), accepted ? SIZE + BLOCK : SIZE);
    if (!accepted)
        return 0;
    ck_assert_int_eq(pread(fd, memory, BLOCK, SIZE), BLOCK);
    t_assert_data(memory, BLOCK, SIZE);
    return 1;
}

static unsigned sync_file(int fd)
{
    struct aiocb cb;

    t_prepare(&cb, fd, NULL, 0, 0);
    if (!is_accepted(aio_fsync(O_SYNC, &cb)))
        return 0;
    t_wait_done(&cb, 0);
    return 1;
}

static unsigned read_stream(void)
{
    struct aiocb cb;

    t_prepare(&cb, stream.in, memory, BLOCK, 0);
    if (!is_accepted(aio_read(&cb)))
        return 0;
    t_put(stream.out, 0, 100);
    t_wait_done(&cb, 100);
    t_assert_data(memory, 100, 0);
    return 1;
}

/* All of them but one, whose descriptor is none, and which needs no memory to be told so. */
static unsigned use_a_list(void)
{
    struct aiocb cbs[3], *list[] = { &cbs[0], &cbs[1], &cbs[2] };
    unsigned done = 0;

    for (int i = 0; i < 3; i++) {
        t_prepare(&cbs[i], i == 2 ? -1 : i == 1 ? cold : cached, memory + i * BLOCK, BLOCK, i * BLOCK);
        cbs[i].aio_lio_opcode = LIO_READ;
    }
    ck_assert_int_eq(lio_listio(LIO_WAIT, list, 3, NULL), -1);
    ck_assert(errno == EIO || errno == EAGAIN);
    t_assert_failed(&cbs[2], EBADF);
    for (int i = 0; i < 2; i++) {
        if (aio_error(&cbs[i]) == EAGAIN)
            continue;
        t_wait_done(&cbs[i], BLOCK);
        t_assert_data(memory + i * BLOCK, BLOCK, i * BLOCK);
        done++;
    }
    return done;
}

/* How many requests are accepted, of one of each kind, and two in the list? */
static unsigned use_all(void)
{
    unsigned accepted = read_file(cached);

    t_make_cold(cold);
    accepted += read_file(cold) + read_file(direct) + write_file(cached) + write_file(direct) + sync_file(cached);
    return accepted + read_stream() + use_a_list();
}

static void use_without_memory(void *point)
{
    unsigned all = direct < 0 ? 7 : 9;

    atomic_store(&left, *(const int *) point);
    ck_assert_uint_le(use_all(), all);
    atomic_store(&left, NEVER);
    ck_assert_uint_eq(use_all(), all);
}

START_TEST(what_is_refused_is_not_done)
{
    memory = t_aligned(SIZE);
    data = t_aligned(SIZE);
    cached = t_cached_file(SIZE);
    cold = t_cold_file(SIZE);
    direct = t_reopen(t_cold_file(SIZE), O_RDWR | O_DIRECT);
    stream = t_pipe();
    for (int point = 0; point < POINTS; point++)
        t_reap(t_child(use_without_memory, &point));
    free(memory);
    free(data);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, what_is_refused_is_not_done);
}

int main(void)
{
    static const struct t_part parts[] = {
        { .name = "no memory for a moment", .add = add, .need = T_NO_SANITIZER },
        { .name = NULL },
    };

    return t_main("memory", parts);
}
