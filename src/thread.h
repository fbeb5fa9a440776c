/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How threads of the library are started.
 */
#ifndef PAIO_THREAD_H
#define PAIO_THREAD_H

#include "base.h"

/*
 * Starts a detached thread; it has the signal mask of the caller. own: it runs nothing of the application's, and a small stack
 * is enough. 0, or -EAGAIN. Not async-signal-safe.
 */
int paio_thread_start(void *(*run)(void *), void *argument, bool own);

#endif
