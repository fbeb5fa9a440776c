/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * aio_cancel, and what close does with requests that have not begun.
 */
#ifndef PAIO_CANCEL_H
#define PAIO_CANCEL_H

#include "control.h"

/* As aio_cancel, for an open fd: AIO_CANCELED, AIO_NOTCANCELED, AIO_ALLDONE. */
int paio_cancel(int fd, const struct aiocb *cb);

#endif
