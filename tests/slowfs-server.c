/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The server of slowfs.h: one thread of a child process. A held request is an entry in a table,
 * not a blocked thread.
 *
 * The child has a session of its own, so that a signal to the test's process group does not reach
 * it; SIGTERM comes to it when the thread that started it ends. A request whose caller has been
 * killed is answered with EINTR, so that nobody stays in the kernel for it.
 */
#define FUSE_USE_VERSION 31

#include "slowfs-shared.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { HELD_MAX = 1024, ROOT = 1 };

static struct slowfs_shared *shared;

/* A request that has come and is not answered. */
struct waiting {
    fuse_req_t req;
    struct slowfs_record what;
    unsigned char *bytes; /* of a write */
    bool held;            /* until released; otherwise until `when` */
    struct timespec when;
};

static struct waiting waiting[HELD_MAX];
static unsigned int waiting_count;

static bool take(atomic_uint *count)
{
    unsigned int n = atomic_load(count);

    while (n)
        if (atomic_compare_exchange_weak(count, &n, n - 1))
            return true;
    return false;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static void carry_out(const struct waiting *w)
{
    struct slowfs_orders *orders = &shared->orders[w->what.op];
    atomic_size_t *size = &shared->size[w->what.file];
    unsigned char *data = shared->data[w->what.file];
    size_t offset = w->what.offset, length = w->what.length;

    if (take(&orders->fail)) {
        atomic_fetch_add(&orders->finished, 1);
        fuse_reply_err(w->req, atomic_load(&orders->fail_error));
        return;
    }
    if (take(&orders->shorten))
        length = least(length, atomic_load(&orders->shorten_length));
    if (w->what.op == SLOWFS_READ) {
        length = offset < *size ? least(length, *size - offset) : 0;
        atomic_fetch_add(&orders->finished, 1);
        fuse_reply_buf(w->req, (char *) data + offset, length);
    } else if (w->what.op == SLOWFS_SYNC) {
        atomic_fetch_add(&orders->finished, 1);
        fuse_reply_err(w->req, 0);
    } else if (offset + length > SLOWFS_CAPACITY) {
        fuse_reply_err(w->req, ENOSPC);
    } else {
        memcpy(data + offset, w->bytes, length);
        if (*size < offset + length)
            atomic_store(size, offset + length);
        atomic_fetch_add(&orders->finished, 1);
        fuse_reply_write(w->req, length);
    }
}

static struct timespec now_plus(unsigned int milliseconds)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += milliseconds / 1000;
    t.tv_nsec += milliseconds % 1000 * 1000000L;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    return t;
}

static bool passed(struct timespec t)
{
    struct timespec now = now_plus(0);

    return now.tv_sec > t.tv_sec || (now.tv_sec == t.tv_sec && now.tv_nsec >= t.tv_nsec);
}

static void accept_request(fuse_req_t req, struct slowfs_record what, const void *bytes)
{
    struct slowfs_orders *orders = &shared->orders[what.op];
    struct waiting w = { .req = req, .what = what };
    unsigned int delay = atomic_load(&orders->delay);

    shared->record[shared->records % SLOWFS_RECORDS] = what;
    atomic_fetch_add(&shared->records, 1);
    w.held = take(&orders->hold);
    if ((!w.held && !delay) || waiting_count == HELD_MAX) {
        w.bytes = (unsigned char *) bytes;
        atomic_fetch_add(&orders->arrived, 1);
        carry_out(&w);
        return;
    }
    w.when = now_plus(delay);
    if (bytes) {
        w.bytes = malloc(what.length + 1);
        memcpy(w.bytes, bytes, what.length);
    }
    waiting[waiting_count++] = w;
    atomic_fetch_add(&orders->arrived, 1 + (w.held ? SLOWFS_ONE_HELD : 0));
}

/* Answers what has been released, has waited long enough, or is waited for no more. */
static void answer_waiting(bool all)
{
    unsigned int kept = 0;

    for (unsigned int i = 0; i < waiting_count; i++) {
        struct waiting w = waiting[i];
        struct slowfs_orders *orders = &shared->orders[w.what.op];
        bool dropped = all || fuse_req_interrupted(w.req);

        if (!dropped && !(w.held ? take(&orders->release) : passed(w.when))) {
            waiting[kept++] = w;
            continue;
        }
        if (w.held)
            atomic_fetch_sub(&orders->arrived, SLOWFS_ONE_HELD);
        if (dropped)
            fuse_reply_err(w.req, EINTR);
        else
            carry_out(&w);
        free(w.bytes);
    }
    waiting_count = kept;
}

static void on_read(fuse_req_t req, fuse_ino_t ino, size_t length, off_t offset,
                    struct fuse_file_info *fi)
{
    (void) fi;
    accept_request(req, (struct slowfs_record){ SLOWFS_READ, ino - 2, offset, length, false },
                   NULL);
}

static void on_write(fuse_req_t req, fuse_ino_t ino, const char *bytes, size_t length, off_t offset,
                     struct fuse_file_info *fi)
{
    (void) fi;
    accept_request(req, (struct slowfs_record){ SLOWFS_WRITE, ino - 2, offset, length, false },
                   bytes);
}

static void on_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
    (void) fi;
    accept_request(req, (struct slowfs_record){ SLOWFS_SYNC, ino - 2, 0, 0, data_only }, NULL);
}

static struct stat attributes(fuse_ino_t ino)
{
    struct stat st = { .st_ino = ino, .st_mode = S_IFDIR | 0777, .st_nlink = 2 };

    if (ino != ROOT) {
        st.st_mode = S_IFREG | 0666;
        st.st_nlink = 1;
        st.st_size = atomic_load(&shared->size[ino - 2]);
    }
    return st;
}

static void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct stat st = attributes(ino);

    (void) fi;
    fuse_reply_attr(req, &st, 0);
}

static void on_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int set,
                       struct fuse_file_info *fi)
{
    if (set & FUSE_SET_ATTR_SIZE && ino != ROOT)
        atomic_store(&shared->size[ino - 2], attr->st_size);
    on_getattr(req, ino, fi);
}

static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct fuse_entry_param entry = { .ino = (unsigned int) (name[0] - '0') + 2 };

    if (parent != ROOT || entry.ino >= SLOWFS_FILES + 2 || name[1]) {
        fuse_reply_err(req, ENOENT);
        return;
    }
    entry.attr = attributes(entry.ino);
    fuse_reply_entry(req, &entry);
}

static void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void) ino;
    fi->direct_io = 1;
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 11)
    /* Linux 6.1 flushes under the inode's lock: a child could not exit while a write is held. */
    fi->noflush = 1;
#endif
    fuse_reply_open(req, fi);
}

static const struct fuse_lowlevel_ops operations = {
    .lookup = on_lookup,
    .getattr = on_getattr,
    .setattr = on_setattr,
    .open = on_open,
    .read = on_read,
    .write = on_write,
    .fsync = on_fsync,
};

/* How long the server may sleep: until the first delayed request falls due. */
static int patience(void)
{
    for (unsigned int i = 0; i < waiting_count; i++)
        if (!waiting[i].held)
            return 1;
    return -1;
}

static void run(struct fuse_session *session, int wake_fd, int end_fd)
{
    struct fuse_buf buf = { .mem = NULL };
    struct pollfd fds[] = {
        { .fd = fuse_session_fd(session), .events = POLLIN },
        { .fd = wake_fd, .events = POLLIN },
        { .fd = end_fd, .events = POLLIN },
    };
    eventfd_t ignored;

    while (!fuse_session_exited(session)) {
        poll(fds, 3, patience());
        if (fds[2].revents)
            break;
        if (fds[1].revents)
            eventfd_read(wake_fd, &ignored);
        if (fds[0].revents & (POLLERR | POLLHUP))
            break;
        if (fds[0].revents && fuse_session_receive_buf(session, &buf) > 0)
            fuse_session_process_buf(session, &buf);
        answer_waiting(false);
    }
    answer_waiting(true);
    free(buf.mem);
}

static int until_parent_ends(pid_t parent)
{
    sigset_t term;

    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigprocmask(SIG_SETMASK, &term, NULL);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        raise(SIGTERM);
    return signalfd(-1, &term, SFD_CLOEXEC);
}

static struct fuse_session *mounted_session(const char *directory)
{
    char *argv[] = { "slowfs", NULL };
    struct fuse_args args = FUSE_ARGS_INIT(1, argv);
    struct fuse_session *session;

    session = fuse_session_new(&args, &operations, sizeof(operations), NULL);
    if (session && fuse_session_mount(session, directory)) {
        fuse_session_destroy(session);
        session = NULL;
    }
    fuse_opt_free_args(&args);
    return session;
}

void slowfs_serve(struct slowfs_shared *memory, int wake_fd, const char *directory, pid_t parent)
{
    int end_fd;
    struct fuse_session *session;

    shared = memory;
    setsid();
    close_range(3, wake_fd - 1, 0);
    close_range(wake_fd + 1, ~0U, 0);
    end_fd = until_parent_ends(parent);
    prctl(PR_SET_NAME, "slowfs");
    session = mounted_session(directory);
    atomic_store(&shared->state, session ? 1 : -EPERM);
    if (session) {
        run(session, wake_fd, end_fd);
        fuse_session_unmount(session);
    }
    umount2(directory, MNT_DETACH);
    rmdir(directory);
    _exit(0);
}
