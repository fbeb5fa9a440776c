/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Included ahead of every test of posixtestsuite (gcc -include).
 *
 * The tests are of 2004 and run only where _POSIX_ASYNCHRONOUS_IO is 200112L; glibc's value has
 * been 200809L since 2009, and each test would leave as "unsupported". Some also use open() and
 * signals without their headers, which <aio.h> brought in when they were written.
 */
#define _GNU_SOURCE
#include <unistd.h>
#undef _POSIX_ASYNCHRONOUS_IO
#define _POSIX_ASYNCHRONOUS_IO 200112L

#include <fcntl.h>
#include <signal.h>

/*
 * The tests leak. aio_cancel/3-1 frees memory in a signal handler, which may have interrupted malloc(): on any
 * library it sometimes waits there for ever for malloc's lock, or gets the memory back with
 * something in it and takes it for a cleared control block. Others, as aio_suspend/9-1, free control blocks and
 * buffers that are in flight when they give up: the result is then written into malloc's own lists.
 */
#include <malloc.h>
#include <stdlib.h>
#define free(memory) ((void)(memory))
