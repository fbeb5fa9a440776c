/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Changes: may what the kernel has said a moment ago still be believed?
 *
 * A descriptor's flags and the limit of file sizes are asked for at every write that is given to the
 * kernel, and next to never change. This process changes them by functions that the shared library sees; who
 * else does is noticed at the next tick of the system's clock.
 */
#ifndef PAIO_CHANGES_H
#define PAIO_CHANGES_H

#include "base.h"

/*
 * Names this moment: the tick of the clock and the number of changes that this process has made. What
 * was asked for when the same name was given still holds. The name is taken before the asking. Never 0.
 * In the static library, which sees no change, it is always another one. Async-signal-safe.
 */
uint64_t paio_changes_moment(void);

#endif
