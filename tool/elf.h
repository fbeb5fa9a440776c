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
    bool shared;                /* it is a shared object, and not a program that can be moved */
    char interpreter[PATH_MAX]; /* the dynamic linker that it names, or empty */
    char name[NAME_MAX + 1];    /* DT_SONAME, of a library or the dynamic linker itself, or empty */
    bool calls_aio;             /* it refers to a function that submits requests */
    bool defines_aio;           /* it exports one itself */
    bool is_ours;               /* it exports what only libposix-aio has */
};

/* Reads path. 0, ENOEXEC if it is no ELF file (or a broken one), or why it cannot be read. */
int elf_read_file(const char *path, struct elf_file *file);

#endif
