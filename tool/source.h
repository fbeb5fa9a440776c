/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where statistics come from: a file that a process keeps, named, or found by the process.
 */
#ifndef TOOL_SOURCE_H
#define TOOL_SOURCE_H

#include "stats.h"

struct source {
    const struct paio_stats *stats;
    int process; /* a pidfd: readable when the process that keeps them has ended. -1: not known */
};

/*
 * Opens the statistics of a process (a number) or of a file. 0, or TOOL_FAILED with a message on
 * standard error that says what to do.
 */
int source_open(const char *name, struct source *source);

#endif
