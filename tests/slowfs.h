/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A filesystem that is as slow as a test wants it to be.
 *
 * It has SLOWFS_FILES files of at most SLOWFS_CAPACITY bytes, is served by a child process over
 * FUSE, and obeys the test through memory that both share: reads, writes and syncs that are still
 * to come can be held until the test lets them go, failed, cut short or delayed. What the files
 * contain is in that memory too, so a test can look at it without any I/O of its own.
 *
 * Every read and write of a file is one request here (no page cache lies between). A process has
 * at most one of these filesystems; forked children share it with their parent. It goes away with
 * the thread that started it.
 */
#ifndef SLOWFS_H
#define SLOWFS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { SLOWFS_FILES = 4, SLOWFS_CAPACITY = 4 << 20, SLOWFS_RECORDS = 8192 };

/* What a request asks for; a sync is one operation whether or not it is for data only. */
enum slowfs_op { SLOWFS_READ, SLOWFS_WRITE, SLOWFS_SYNC, SLOWFS_OPS };

/* One request as it arrived. */
struct slowfs_record {
    enum slowfs_op op;
    int file;
    size_t offset;
    size_t length;
    bool data_only;
};

/* Mounts the filesystem. Returns 0 or -errno: FUSE may be missing or forbidden. */
int slowfs_start(void);

/* Opens a file with the flags of open(2). Returns a descriptor or -errno. */
int slowfs_open(int file, int flags);

/* The next count requests for op are held until they are released. */
void slowfs_hold(enum slowfs_op op, unsigned int count);

/* Lets count held requests for op go, in the order of their arrival. */
void slowfs_release(enum slowfs_op op, unsigned int count);

/* The next count requests for op fail with error. */
void slowfs_fail(enum slowfs_op op, unsigned int count, int error);

/* The next count requests for op transfer at most length bytes. */
void slowfs_shorten(enum slowfs_op op, unsigned int count, size_t length);

/* Every request for op from now on takes so many milliseconds; 0 ends that. */
void slowfs_delay(enum slowfs_op op, unsigned int milliseconds);

/* How many requests for op have come, are held now, and have been carried out. */
unsigned int slowfs_arrived(enum slowfs_op op);
unsigned int slowfs_held(enum slowfs_op op);
unsigned int slowfs_finished(enum slowfs_op op);

/* The i-th request of all that came, counted from 0; i is less than the sum of arrivals. */
struct slowfs_record slowfs_record(unsigned int i);

/* A file's bytes and their number. Writing here changes what reads see. */
unsigned char *slowfs_data(int file);
size_t slowfs_size(int file);
void slowfs_set_size(int file, size_t size);

#endif
