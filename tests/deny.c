/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs a program under a seccomp filter, as containers have one, in which a system call fails.
 *
 *   deny io_setup|io_submit|preadv2 ERRNO PROGRAM [ARGUMENT...]
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct {
    const char *name;
    unsigned number;
} calls[] = { { "io_setup", SYS_io_setup }, { "io_submit", SYS_io_submit }, { "preadv2", SYS_preadv2 } };

static int deny(unsigned number, unsigned error)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = { sizeof filter / sizeof filter[0], filter };

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
        return -1;
    return 0;
}

int main(int argc, char *argv[])
{
    for (size_t i = 0; argc > 3 && i < sizeof calls / sizeof calls[0]; i++) {
        if (strcmp(argv[1], calls[i].name))
            continue;
        if (deny(calls[i].number, (unsigned) atoi(argv[2]))) {
            perror("deny");
            return 2;
        }
        execvp(argv[3], argv + 3);
        perror(argv[3]);
        return 127;
    }
    fprintf(stderr, "usage: deny io_setup|io_submit|preadv2 ERRNO PROGRAM [ARGUMENT...]\n");
    return 2;
}
