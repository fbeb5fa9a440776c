/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A load for perf whose record is known in advance: touches the given number of pages, each once
 * and in order, so that recording every page fault gives that many samples with rising addresses.
 * Prints the first address.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    long pages = argc > 1 ? atol(argv[1]) : 1;
    long size = sysconf(_SC_PAGESIZE);
    char *memory = mmap(NULL, pages * size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED || madvise(memory, pages * size, MADV_NOHUGEPAGE) < 0) {
        perror("pagefaults");
        return 1;
    }
    printf("%lx\n", (unsigned long)memory);
    fflush(stdout);
    for (long i = 0; i < pages; i++) {
        memory[i * size] = 1;
        /* perf drops samples when its buffer is full; give it time to write. */
        if (i % 512 == 511)
            usleep(500);
    }
    return 0;
}
