/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For tests that watch the library's system calls, or change what comes of them: the C library's syscall, through which it
 * makes some, is theirs.
 */
#ifndef T_SYSCALL_H
#define T_SYSCALL_H

#include <stdbool.h>

/* Called by the thread that makes the call, before it is made and when it is over. */
typedef void t_syscall_watcher(long number, bool over);

/* From now on. Not async-signal-safe; syscall stays so. */
void t_watch_syscalls(t_syscall_watcher *watcher);

/*
 * From now on, or no longer, preadv2 with RWF_NOWAIT finds nothing, as if no page were cached, and the device had begun to
 * read it. Whoever reads in another way has it at once.
 */
void t_miss_the_page_cache(bool from_now_on);

#endif
