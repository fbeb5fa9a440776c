/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stress: files and streams: opening, emptying, looking at all their bytes, and closing them while
 * requests are queued, with another file behind the same number at once.
 */
#include "stress_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum { VICTIM_SIZE = 4096 };

static const uint64_t victim_name = 0x71c71;

/* An unlinked file, opened with these flags; *view is another descriptor for it. */
static int open_file(int flags, int *view)
{
    char path[4096];
    int fd;

    snprintf(path, sizeof path, "%s/stress.XXXXXX", stress.directory);
    *view = mkstemp(path);
    if (*view < 0)
        fail(NULL, "cannot make a file in %s: %s", stress.directory, strerror(errno));
    fd = open(path, O_RDWR | O_CLOEXEC | flags);
    unlink(path);
    return fd;
}

static void fill_file(int fd, size_t size, uint64_t name, unsigned char *image)
{
    bytes_fill(image, size, name, 0);
    if (pwrite(fd, image, size, 0) != (ssize_t) size)
        fail(NULL, "cannot write a file: %s", strerror(errno));
}

static void read_file(const struct worker *w, int fd, unsigned char *at, size_t size, off_t offset)
{
    size_t done = 0;

    while (done < size) {
        ssize_t n = pread(fd, at + done, size - done, offset + (off_t) done);

        if (n <= 0)
            fail(w, "a file ends at %zu, not at %zu (%s)", done, size,
                 n ? strerror(errno) : "end of file");
        done += (size_t) n;
    }
}

/* What all workers share. */

void shared_open(void)
{
    size_t size = (size_t) ROOM * stress.workers;
    unsigned char *image = malloc(size);
    unsigned char victim[VICTIM_SIZE];
    int view;

    if (!image)
        fail(NULL, "no memory for the shared file's image");
    stress.shared = open_file(0, &view);
    fill_file(view, size, stress.seed, image);
    close(view);
    stress.shared_append = open_file(O_APPEND, &view);
    close(view);
    stress.victim = open_file(0, &view);
    fill_file(view, sizeof victim, victim_name, victim);
    close(view);
    view = open_file(O_DIRECT, &view);
    stress.direct = view >= 0;
    if (view >= 0)
        close(view);
    free(image);
}

/* The shared append file holds every record that succeeded, each worker's in order, and no other.
 */
void shared_check(void)
{
    static unsigned char record[BLOCK];
    size_t taken[WORKERS] = { 0 };
    uint32_t head[4];
    off_t at = 0;

    while (pread(stress.shared_append, head, sizeof head, at) == (ssize_t) sizeof head) {
        struct worker *w = head[1] < stress.workers ? &stress.worker[head[1]] : NULL;
        const struct record *wanted =
            w && taken[head[1]] < w->record_count ? &w->records[taken[head[1]]++] : NULL;

        if (head[0] != 0x5eed5eed || !wanted)
            fail(w, "the shared append file holds what nobody wrote at %lld", (long long) at);
        if (wanted->number != head[2] || wanted->length != head[3])
            fail(w,
                 "the shared append file has record %u of %u bytes at %lld, where %u of %u is due",
                 head[2], head[3], (long long) at, wanted->number, wanted->length);
        read_file(w, stress.shared_append, record, wanted->length - sizeof head,
                  at + (off_t) sizeof head);
        if (!bytes_match(record, wanted->length - sizeof head, ((uint64_t) head[1] << 32) | head[2],
                         0))
            fail(w, "record %u in the shared append file is damaged", head[2]);
        at += wanted->length;
    }
    for (unsigned int i = 0; i < stress.workers; i++)
        if (taken[i] != stress.worker[i].record_count)
            fail(&stress.worker[i], "%zu of %zu records are missing in the shared append file",
                 stress.worker[i].record_count - taken[i], stress.worker[i].record_count);
}

static void check_victim(const struct worker *w)
{
    unsigned char bytes[VICTIM_SIZE], right[VICTIM_SIZE];
    struct stat status;
    size_t i = 0, changed = 0;

    if (fstat(stress.victim, &status) != 0 || status.st_size != VICTIM_SIZE)
        fail(w, "a request ran on the file that took the place of a closed one: it has %lld bytes",
             (long long) status.st_size);
    read_file(w, stress.victim, bytes, sizeof bytes, 0);
    bytes_fill(right, sizeof right, victim_name, 0);
    while (i < VICTIM_SIZE && bytes[i] == right[i])
        i++;
    for (size_t k = i; k < VICTIM_SIZE; k++)
        changed += bytes[k] != right[k];
    if (changed)
        fail(w, "a request ran on the file that took the place of a closed one: %zu bytes from %zu",
             changed, i);
    if (lseek(stress.victim, 0, SEEK_CUR) != 0)
        fail(w, "a request moved the position of the file that took the place of a closed one");
}

/* Opening. */

static void open_fifo(int end[2])
{
    char path[4096];

    snprintf(path, sizeof path, "%s/stress.%d.%lx", stress.directory, (int) getpid(),
             (unsigned long) pthread_self());
    if (mkfifo(path, 0600) != 0)
        fail(NULL, "mkfifo %s: %s", path, strerror(errno));
    end[0] = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    end[1] = open(path, O_WRONLY | O_CLOEXEC);
    unlink(path);
    if (end[0] >= 0)
        fcntl(end[0], F_SETFL, 0);
}

static void open_stream(struct worker *w, struct target *t)
{
    int end[2] = { -1, -1 };

    if (t->kind == PIPE && pipe2(end, O_CLOEXEC) != 0)
        fail(w, "pipe2: %s", strerror(errno));
    else if (t->kind == SOCKET && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, end) != 0)
        fail(w, "socketpair: %s", strerror(errno));
    else if (t->kind == FIFO)
        open_fifo(end);
    t->fd = end[0];
    t->out = end[1];
    if (t->twin) {
        t->twin->fd = end[1];
        t->twin->out = end[0];
    }
}

static void open_target(struct worker *w, struct target *t)
{
    static const int flags[] = { [DIRECT] = O_DIRECT, [DSYNC] = O_DSYNC, [APPEND] = O_APPEND };

    if (is_stream(t)) {
        open_stream(w, t);
    } else if (t->kind == SHARED) {
        t->fd = stress.shared;
        t->view = fcntl(stress.shared, F_DUPFD_CLOEXEC, 0);
    } else if (t->kind == SHARED_APPEND) {
        t->fd = stress.shared_append;
    } else {
        t->fd = open_file(t->kind <= APPEND && t->kind != BUFFERED ? flags[t->kind] : 0, &t->view);
        t->size = t->kind == APPEND ? 0 : random_below(w, ROOM / BLOCK) * BLOCK;
        fill_file(t->view, t->size, random_word(w), t->image);
    }
    if (t->fd < 0 || t->fd >= DESCRIPTORS || t->out >= DESCRIPTORS)
        fail(w, "cannot open a target: %s", strerror(errno));
}

static struct target *add_target(struct worker *w, enum kind kind)
{
    struct target *t = &w->targets[w->target_count++];

    *t = (struct target){ .kind = kind, .owner = w, .fd = -1, .out = -1, .view = -1, .align = 1 };
    t->salt = random_word(w);
    if (kind == DIRECT)
        t->align = BLOCK;
    if (kind == SHARED) {
        t->base = (off_t) w->number * ROOM;
        t->size = ROOM;
    }
    if (kind < PIPE) {
        t->image = malloc(ROOM);
        if (!t->image)
            fail(w, "no memory for an image");
        memset(t->image, 0, ROOM);
    }
    return t;
}

void targets_open(struct worker *w)
{
    static const enum kind kinds[] = { BUFFERED, BUFFERED, DIRECT,        DSYNC,
                                       SHARED,   APPEND,   SHARED_APPEND, PIPE };

    random_begin(w, UINT64_MAX);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (kinds[i] != DIRECT || stress.direct)
            open_target(w, add_target(w, kinds[i]));
    /* With one order for both directions a read that waits stops the writes behind it. */
    if (!stress.glibc && !getenv("LIBPOSIX_AIO_ORDER")) {
        struct target *one = add_target(w, SOCKET), *other = add_target(w, SOCKET);

        one->twin = other;
        other->twin = one;
        open_target(w, one);
    }
    if (!stress.glibc)
        open_target(w, add_target(w, FIFO));
    for (unsigned int i = 0; i < w->target_count; i++)
        if (w->targets[i].kind == SHARED)
            bytes_fill(w->targets[i].image, ROOM, stress.seed, (size_t) w->targets[i].base);
}

/* Emptying. */

static unsigned int pending(const struct worker *w, const struct target *t, enum verb verb)
{
    unsigned int n = 0;

    for (unsigned int i = 0; i < w->flying; i++)
        n += w->flight[i]->target == t && !w->flight[i]->settled && w->flight[i]->verb == verb;
    return n;
}

static void submit_on(struct worker *w, struct target *t, enum verb verb)
{
    struct request *r = w->unused_count ? request_prepare(w, t, verb) : NULL;

    if (r)
        request_submit(w, r);
}

/* Reads that wait for nothing are canceled, as POSIX allows; glibc cannot, so they are fed. */
static void end_reads(struct worker *w, struct target *t)
{
    int result;

    if (stress.glibc) {
        submit_on(w, t, WRITE);
        return;
    }
    atomic_fetch_add(&cancels_begun[t->fd], 1);
    result = aio_cancel(t->fd, NULL);
    atomic_fetch_add(&cancels_over[t->fd], 1);
    if (result == AIO_NOTCANCELED && pending(w, t->twin ? t->twin : t, WRITE) == 0)
        fail(w, "reads that wait on an empty stream could not be canceled");
}

static void drain_stream(struct worker *w, struct target *t)
{
    while (unsettled(w, t) || !stream_is_empty(t)) {
        unsigned int reads = pending(w, t, READ), writes = pending(w, t, WRITE);

        if (reads == 0 && (writes > 0 || !stream_is_empty(t)))
            submit_on(w, t, READ);
        else if (reads > 0 && writes == 0 && stream_is_empty(t))
            end_reads(w, t);
        wait_target(w, t);
    }
}

static void check_file(struct worker *w, const struct target *t)
{
    unsigned char *bytes = w->scratch;
    struct stat status;

    if (t->view < 0)
        return;
    if (fstat(t->view, &status) != 0 || (t->kind != SHARED && status.st_size != (off_t) t->size))
        fail(w, "a file (kind %d) has %lld bytes, not %zu", (int) t->kind,
             (long long) status.st_size, t->size);
    read_file(w, t->view, bytes, t->size, t->base);
    for (size_t i = 0; i < t->size; i++)
        if (bytes[i] != t->image[i])
            fail(w, "a file (kind %d) is wrong from byte %zu: %02x, not %02x", (int) t->kind, i,
                 bytes[i], t->image[i]);
}

/* Waits until nothing is in flight on the target and looks at all of its bytes. */
void target_quiesce(struct worker *w, struct target *t)
{
    if (is_stream(t)) {
        drain_stream(w, t);
        return;
    }
    while (unsettled(w, t))
        wait_target(w, t);
    check_file(w, t);
}

/* A size that leaves room to grow; only when nothing is in flight. */
void target_truncate(struct worker *w, struct target *t)
{
    size_t size = t->kind == APPEND ? 0 : random_below(w, ROOM / BLOCK) * BLOCK;

    if (t->kind == SHARED || t->kind == SHARED_APPEND || is_stream(t))
        return;
    target_quiesce(w, t);
    if (ftruncate(t->view, (off_t) size) != 0)
        fail(w, "ftruncate: %s", strerror(errno));
    if (size > t->size)
        memset(t->image + t->size, 0, size - t->size);
    t->size = size;
}

/* Lets the page cache go of what it holds of a file, so that reads wait for the device. */
void target_chill(struct target *t)
{
    if (t->view < 0)
        return;
    fdatasync(t->view);
    posix_fadvise(t->view, 0, 0, POSIX_FADV_DONTNEED);
}

/* Closing. */

/*
 * Closes the descriptor and opens the victim behind its number; false if somebody else, perhaps the
 * library, has taken the number meanwhile, so that it is not ours to close.
 */
static bool close_under(struct worker *w, int fd, bool by_dup)
{
    int taken;

    atomic_fetch_add(&cancels_begun[fd], 1);
    if (by_dup) {
        taken = dup2(stress.victim, fd);
    } else {
        if (close(fd) != 0)
            fail(w, "close: %s", strerror(errno));
        taken = fcntl(stress.victim, F_DUPFD, fd);
    }
    atomic_fetch_add(&cancels_over[fd], 1);
    if (taken < 0)
        fail(w, "cannot duplicate a descriptor: %s", strerror(errno));
    if (taken != fd)
        close(taken);
    return taken == fd;
}

/*
 * Closes a target with requests in flight. None may run on the file that takes its number; each
 * ends, as it was or canceled; what it did stands on the old file. Then the target opens anew.
 */
void target_replace(struct worker *w, struct target *t)
{
    bool by_dup = random_chance(w, 50), out_first = random_chance(w, 50);
    bool fd_taken = false, out_taken = false;
    int fd = t->fd, out = t->out;

    if (stress.glibc || t->kind == SHARED || t->kind == SHARED_APPEND)
        return;
    t->closing = true;
    if (t->twin)
        t->twin->closing = true;
    if (out >= 0 && out_first)
        out_taken = close_under(w, out, by_dup);
    fd_taken = close_under(w, fd, by_dup);
    if (out >= 0 && !out_first)
        out_taken = close_under(w, out, by_dup);
    while (unsettled(w, t) || (t->twin && unsettled(w, t->twin)))
        wait_target(w, t->twin && !unsettled(w, t) ? t->twin : t);
    check_victim(w);
    check_file(w, t);
    if (fd_taken)
        close(fd);
    if (out_taken)
        close(out);
    if (t->view >= 0)
        close(t->view);
    t->out = t->view = -1;
    for (struct target *each = t; each; each = each == t ? t->twin : NULL) {
        each->closing = false;
        each->reading = each->written;
        each->salt = random_word(w);
    }
    open_target(w, t);
}

void targets_close(struct worker *w)
{
    for (unsigned int i = 0; i < w->target_count; i++)
        target_quiesce(w, &w->targets[i]);
    while (w->flying > 0)
        wait_target(w, NULL);
    for (unsigned int i = 0; i < w->target_count; i++) {
        struct target *t = &w->targets[i];

        if (is_stream(t) || t->view >= 0)
            free(t->image);
        if (t->kind != SHARED && t->kind != SHARED_APPEND && !(t->twin && t > t->twin))
            close(t->fd);
        if (t->out >= 0 && !(t->twin && t > t->twin))
            close(t->out);
        if (t->view >= 0)
            close(t->view);
    }
}
