/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs a command with a file that is slow: served over FUSE by the tests' slow filesystem, every
 * read and write of it takes so many milliseconds.
 *
 *   slowdisk MILLISECONDS COMMAND [WORD...]      {} at the end of a word becomes the file's name
 *
 * Ends with the command's exit status, or 77 where FUSE cannot be had.
 */
#include "slowfs.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOT_HERE = 77 };

static char *with_name(char *word, const char *name)
{
    size_t length = strlen(word);
    char *whole;

    if (length < 2 || strcmp(word + length - 2, "{}"))
        return word;
    if (asprintf(&whole, "%.*s%s", (int) length - 2, word, name) < 0)
        abort();
    return whole;
}

int main(int argc, char **argv)
{
    extern char **environ;
    static char name[4096];
    char link[64];
    int error, fd, status;
    pid_t child;

    if (argc < 3) {
        fprintf(stderr, "usage: slowdisk MILLISECONDS COMMAND [WORD...]\n");
        return 2;
    }
    error = slowfs_start();
    fd = error ? error : slowfs_open(0, O_RDWR);
    if (fd < 0) {
        fprintf(stderr, "slowdisk: no FUSE here: %s\n", strerror(-fd));
        return NOT_HERE;
    }
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    if (readlink(link, name, sizeof(name) - 1) < 0) {
        perror("slowdisk");
        return 1;
    }
    slowfs_set_size(0, SLOWFS_CAPACITY);
    slowfs_delay(SLOWFS_READ, (unsigned) atoi(argv[1]));
    slowfs_delay(SLOWFS_WRITE, (unsigned) atoi(argv[1]));
    for (int i = 2; i < argc; i++)
        argv[i] = with_name(argv[i], name);
    if (posix_spawnp(&child, argv[2], NULL, NULL, argv + 2, environ) || waitpid(child, &status, 0) < 0) {
        fprintf(stderr, "slowdisk: cannot run %s\n", argv[2]);
        return 1;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
