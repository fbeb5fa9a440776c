/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading ELF files, by libelf, which checks all bounds.
 */
#include "elf.h"

#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <string.h>
#include <unistd.h>

/* Nobody uses POSIX AIO without one of these. */
static bool submits(const char *symbol)
{
    static const char *const names[] = { "aio_read",   "aio_read64",  "aio_write",  "aio_write64",
                                         "aio_fsync",  "aio_fsync64", "lio_listio", "lio_listio64" };

    for (unsigned i = 0; symbol && i < sizeof names / sizeof names[0]; i++)
        if (strcmp(symbol, names[i]) == 0)
            return true;
    return false;
}

static void read_segments(Elf *elf, struct elf_file *file)
{
    size_t count = 0, size, length;
    const char *raw = elf_rawfile(elf, &size);
    GElf_Phdr header;

    if (!raw || elf_getphdrnum(elf, &count) < 0)
        return;
    for (size_t i = 0; i < count; i++) {
        if (!gelf_getphdr(elf, (int) i, &header) || header.p_type != PT_INTERP ||
            header.p_offset > size || header.p_filesz > size - header.p_offset)
            continue;
        length = strnlen(raw + header.p_offset, header.p_filesz);
        if (length < sizeof file->interpreter)
            memcpy(file->interpreter, raw + header.p_offset, length);
    }
}

static void read_symbols(Elf *elf, Elf_Scn *section, const GElf_Shdr *header,
                         struct elf_file *file)
{
    Elf_Data *data = elf_getdata(section, NULL);
    GElf_Sym symbol;

    for (int i = 0; data && gelf_getsym(data, i, &symbol); i++) {
        const char *name = elf_strptr(elf, header->sh_link, symbol.st_name);

        if (name && symbol.st_shndx != SHN_UNDEF && strcmp(name, "posix_aio_version") == 0)
            file->is_ours = true;
        if (!submits(name))
            continue;
        if (symbol.st_shndx == SHN_UNDEF)
            file->calls_aio = true;
        else
            file->defines_aio = true;
    }
}

static void read_dynamic(Elf *elf, Elf_Scn *section, const GElf_Shdr *header,
                         struct elf_file *file)
{
    Elf_Data *data = elf_getdata(section, NULL);
    const char *name;
    GElf_Dyn entry;

    for (int i = 0; data && gelf_getdyn(data, i, &entry) && entry.d_tag != DT_NULL; i++) {
        if (entry.d_tag == DT_FLAGS_1 && entry.d_un.d_val & DF_1_PIE)
            file->shared = false;
        if (entry.d_tag != DT_SONAME)
            continue;
        name = elf_strptr(elf, header->sh_link, entry.d_un.d_val);
        if (name && strlen(name) < sizeof file->name)
            strcpy(file->name, name);
    }
}

static int read_elf(Elf *elf, struct elf_file *file)
{
    Elf_Scn *section = NULL;
    GElf_Ehdr header;
    GElf_Shdr each;

    if (elf_kind(elf) != ELF_K_ELF || !gelf_getehdr(elf, &header))
        return ENOEXEC;
    file->class = header.e_ident[EI_CLASS];
    file->order = header.e_ident[EI_DATA];
    file->machine = header.e_machine;
    file->shared = header.e_type == ET_DYN;
    read_segments(elf, file);
    while ((section = elf_nextscn(elf, section))) {
        if (!gelf_getshdr(section, &each))
            continue;
        if (each.sh_type == SHT_DYNSYM)
            read_symbols(elf, section, &each, file);
        else if (each.sh_type == SHT_DYNAMIC)
            read_dynamic(elf, section, &each, file);
    }
    return 0;
}

int elf_read_file(const char *path, struct elf_file *file)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), error;
    Elf *elf;

    memset(file, 0, sizeof *file);
    if (fd < 0)
        return errno;
    elf_version(EV_CURRENT);
    elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
    error = elf ? read_elf(elf, file) : ENOEXEC;
    elf_end(elf);
    close(fd);
    return error;
}
