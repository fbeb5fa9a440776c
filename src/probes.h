/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Probes: places where perf, bpftrace or SystemTap can look in (USDT), if configure has found
 * <sys/sdt.h>. A probe that nobody looks at is a nop instruction, and its arguments are where they
 * are anyway. Provider libposix_aio; operation is enum paio_code, way is enum paio_way.
 *
 *   submit(control block, operation, fd, offset, length)
 *       A request is submitted, and nothing of it has been done. If the call then fails, no
 *       complete follows.
 *   complete(control block, operation, fd, result, way)
 *       Its result, bytes or -errno, is about to be published: -ECANCELED if it was canceled.
 *
 * The control block is an address, and tells which submit a complete belongs to. The arguments
 * are for users: doc/adopting.md has them, and they change with the major version only.
 */
#ifndef PAIO_PROBES_H
#define PAIO_PROBES_H

#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

/*
 * perf wants the arguments to have the same types wherever a probe is, and drops those that are
 * constants (perf 6.1): hence int everywhere, in a register.
 */
#ifdef HAVE_PROBES
#include <sys/sdt.h>
#define PAIO_PROBE_NUMBER(name, value) \
    int name = (int) (value);          \
    __asm__("" : "+r"(name))
#define PAIO_PROBE_SUBMIT(cb, code)                                                             \
    do {                                                                                        \
        PAIO_PROBE_NUMBER(code_, code);                                                         \
        DTRACE_PROBE5(libposix_aio, submit, cb, code_, (cb)->aio_fildes, (cb)->aio_offset,      \
                      (cb)->aio_nbytes);                                                        \
    } while (0)
#define PAIO_PROBE_COMPLETE(cb, code, fd, result, way)                  \
    do {                                                                \
        PAIO_PROBE_NUMBER(code_, code);                                 \
        PAIO_PROBE_NUMBER(way_, way);                                   \
        DTRACE_PROBE5(libposix_aio, complete, cb, code_, fd, result, way_); \
    } while (0)
#else
#define PAIO_PROBE_SUBMIT(cb, code) ((void) 0)
#define PAIO_PROBE_COMPLETE(cb, code, fd, result, way) ((void) 0)
#endif

#endif
