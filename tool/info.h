/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The parts of "posix-aio info": the kernel, a file, and the ways of requests. The library itself
 * is inside this program, so the ways are those that it chooses, and what is tried is a request
 * of its own.
 */
#ifndef TOOL_INFO_H
#define TOOL_INFO_H

#include "choose.h"

/* Prints a line: a name, and behind it what printf makes of the rest. */
void info_line(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Prints the engine, and the environment that chose it. */
void info_settings(void);

/* Prints what this kernel offers to this process. */
void info_kernel(void);

/* Prints what is true of a file, and its ways. TOOL_OK, or TOOL_FAILED with a message. */
int info_file(const char *path);

/* The filesystem of an open file, "ext4 on /dev/vda, at /", into text. */
void info_filesystem(int fd, char *text, size_t size);

/* Kinds of requests on a file, each with a way. */
enum info_kind { INFO_READ_CACHED, INFO_READ_COLD, INFO_READ_DIRECT, INFO_KINDS };

/* What trying has shown of a file. */
struct info_trial {
    uint32_t memory;              /* PAIO_NO_NOWAIT and its like */
    bool direct;                  /* it can be opened with O_DIRECT */
    const char *tried[INFO_KINDS]; /* the way that a request has gone, or NULL: not tried */
    const char *untried;           /* why O_DIRECT, which works, was not tried, or NULL */
};

/* Prints the way of each kind of request: in general, on a file, or on what else has that mode. */
void info_ways(void);
void info_ways_of_file(const struct info_trial *trial);
void info_ways_of_stream(mode_t mode);

#endif
