/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an ELF file says of itself, as far as it decides whether the library can be put before it.
 */
#ifndef TOOL_ELF_H
#define TOOL_ELF_H

#include <limits.h>
#include <stdbool.h>

struct elf_file {
    unsigned char class;        /* EI_CLASS: 32 or 64 bits */
    unsigned char order;        /* EI_DATA: byte order */
    unsigned short machine;     /* e_machine */
    char interpreter[PATH_MAX]; /* the dynamic linker that it names, or empty */
    bool named;                 /* it has a DT_SONAME: a library, or the dynamic linker itself */
    bool calls_aio;             /* it refers to a function that submits requests */
    bool defines_aio;           /* it exports one itself */
};

/* Reads path. 0, ENOEXEC if it is no ELF file (or a broken one), or why it cannot be read. */
int elf_read_file(const char *path, struct elf_file *file);

#endif
