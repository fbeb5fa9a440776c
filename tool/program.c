/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Can the library be put before a program? No, if the kernel starts it without a dynamic linker,
 * or with another than the library is for; or if it starts it in secure-execution mode, in which
 * the dynamic linker passes over the library. What the program loads is asked of its dynamic
 * linker, which knows all the rules; whether any of that calls POSIX AIO is in the symbol tables.
 */
#include "program.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "elf.h"

enum { SCRIPTS = 5 }; /* that the kernel follows, one the interpreter of the other */

static int executable(const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return errno == EACCES ? EACCES : ENOENT;
    if (!S_ISREG(st.st_mode) || faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0)
        return EACCES;
    return 0;
}

int program_find(const char *name, char path[PATH_MAX])
{
    const char *list = getenv("PATH"), *end;
    int error, worst = ENOENT;

    if (strchr(name, '/') || !*name) {
        if (snprintf(path, PATH_MAX, "%s", name) >= PATH_MAX)
            return ENOENT;
        return executable(path);
    }
    for (list = list ? list : "/bin:/usr/bin";; list = end + 1) {
        end = strchrnul(list, ':');
        if (snprintf(path, PATH_MAX, "%.*s/%s", end > list ? (int) (end - list) : 1,
                     end > list ? list : ".", name) < PATH_MAX) {
            error = executable(path);
            if (!error)
                return 0;
            worst = error == EACCES ? EACCES : worst;
        }
        if (!*end)
            return worst;
    }
}

/*
 * The interpreter of a script into path: true if there is one. "#!/usr/bin/env NAME" is followed
 * to NAME; a file that is no program at all is run by the shell.
 */
static bool follow_script(char path[PATH_MAX])
{
    char line[256] = "", *word, *rest;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return false;
    n = read(fd, line, sizeof line - 1);
    close(fd);
    if (n >= 4 && memcmp(line, "\177ELF", 4) == 0)
        return false;
    if (n < 2 || memcmp(line, "#!", 2) != 0) {
        strcpy(path, "/bin/sh");
        return true;
    }
    line[strcspn(line, "\n")] = '\0';
    word = strtok_r(line + 2, " \t", &rest);
    if (!word)
        return false;
    strcpy(path, word);
    word = strrchr(path, '/');
    if (word && strcmp(word, "/env") == 0) {
        do
            word = strtok_r(NULL, " \t", &rest);
        while (word && (*word == '-' || strchr(word, '=')));
        return word && program_find(word, path) == 0;
    }
    return true;
}

/* Does executing the file give the process capabilities? Only the effects for a user who is not root. */
static bool has_capabilities(const char *path)
{
    struct vfs_ns_cap_data data;
    ssize_t size = getxattr(path, "security.capability", &data, sizeof data);
    uint32_t permitted = 0;

    if (size < (ssize_t) XATTR_CAPS_SZ_1)
        return false;
    for (unsigned i = 0; i < (size >= (ssize_t) XATTR_CAPS_SZ_2 ? 2 : 1); i++)
        permitted |= data.data[i].permitted;
    return permitted || (le32toh(data.magic_etc) & VFS_CAP_FLAGS_EFFECTIVE);
}

/* Will the kernel start the program in secure-execution mode (AT_SECURE)? Then why. */
static const char *secure_execution(const char *path)
{
    struct statvfs fs;
    struct stat st;
    bool granted = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1 && statvfs(path, &fs) == 0 &&
                   !(fs.f_flag & ST_NOSUID);
    uid_t user = geteuid();
    gid_t group = getegid();

    if (stat(path, &st) < 0)
        return NULL;
    if (granted && st.st_mode & S_ISUID)
        user = st.st_uid;
    if (granted && (st.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP))
        group = st.st_gid;
    if (user != getuid())
        return st.st_mode & S_ISUID ? "is set-user-ID" : "would run with another effective user ID";
    if (group != getgid())
        return st.st_mode & S_ISGID ? "is set-group-ID" : "would run with another effective group ID";
    if (granted && getuid() != 0 && has_capabilities(path))
        return "has file capabilities";
    return NULL;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static bool is_missing(const char *path)
{
    return access(path, F_OK) < 0 && (errno == ENOENT || errno == ENOTDIR);
}

/* Is the file the dynamic linker of the C library that this process has, under whatever name? */
static bool is_our_linker(const char *path)
{
    struct elf_file self, linker;

    if (elf_read_file("/proc/self/exe", &self) || !self.interpreter[0])
        return true; /* not known */
    return elf_read_file(path, &linker) == 0 &&
           strcmp(linker.name, base_name(self.interpreter)) == 0;
}

static enum program_answer answer(enum program_answer answer, char *reason, unsigned size,
                                  const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static enum program_answer answer(enum program_answer answer, char *reason, unsigned size,
                                  const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(reason, size, format, arguments);
    va_end(arguments);
    return answer;
}

/* Can the program's dynamic linker load the library into it? */
static enum program_answer match(const char *path, const struct elf_file *program,
                                 const struct elf_file *library, char *reason, unsigned size)
{
    const char *linker = program->interpreter;

    if (program->class != library->class || program->order != library->order ||
        program->machine != library->machine)
        return answer(PROGRAM_NEVER, reason, size, "%s is for another architecture than the library",
                      path);
    if (!linker[0])
        return program->name[0] ? PROGRAM_FITS
                                : answer(PROGRAM_NEVER, reason, size,
                                         "%s is linked statically, so it has no dynamic linker", path);
    if (is_missing(linker))
        return answer(PROGRAM_INCOMPLETE, reason, size, "its dynamic linker %s is not there", linker);
    if (!is_our_linker(linker))
        return answer(PROGRAM_NEVER, reason, size,
                      "%s is for another C library: its dynamic linker %s is not glibc's", path, linker);
    if (program->defines_aio)
        return answer(PROGRAM_NEVER, reason, size,
                      "%s has functions of <aio.h> of its own, which come before any library's", path);
    return PROGRAM_FITS;
}

/* Does the object on a line that the dynamic linker has listed call POSIX AIO? */
static bool line_calls_aio(char *line)
{
    char *path = strstr(line, "=> "), *end = strrchr(line, '(');
    struct elf_file object;

    path = path ? path + 3 : strchr(line, '/');
    if (!path || *path != '/' || !end || end <= path)
        return false;
    for (; end > path && (*end == '(' || *end == ' '); end--)
        *end = '\0';
    return elf_read_file(path, &object) == 0 && object.calls_aio;
}

/*
 * Does anything call POSIX AIO that the dynamic linker would load with the program? Also true
 * if that cannot be found out.
 */
static bool loads_aio(const char *path, const char *interpreter)
{
    char *const arguments[] = { (char *) interpreter, (char *) "--list", (char *) path, NULL };
    posix_spawn_file_actions_t actions;
    bool found = false;
    char *line = NULL;
    size_t size = 0;
    int fds[2];
    pid_t child;
    int status;
    FILE *list;

    if (pipe2(fds, O_CLOEXEC) < 0)
        return true;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    errno = posix_spawn(&child, interpreter, &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(fds[1]);
    list = errno ? NULL : fdopen(fds[0], "r");
    if (!list) {
        close(fds[0]);
        return true;
    }
    while (getline(&line, &size, list) > 0)
        found = line_calls_aio(line) || found;
    free(line);
    fclose(list);
    return waitpid(child, &status, 0) != child || status != 0 || found;
}

enum program_answer program_examine(const char *path, const char *library, char *reason,
                                    unsigned size)
{
    enum program_answer found = PROGRAM_FITS;
    struct elf_file program, ours;
    char file[PATH_MAX];
    const char *why;
    int error;

    snprintf(file, sizeof file, "%s", path);
    for (unsigned i = 0; i < SCRIPTS && follow_script(file); i++)
        if (is_missing(file))
            return answer(PROGRAM_INCOMPLETE, reason, size, "its interpreter %s is not there", file);
    if (elf_read_file(library, &ours))
        return PROGRAM_FITS;
    error = elf_read_file(file, &program);
    if (!error)
        found = match(file, &program, &ours, reason, size);
    if (found != PROGRAM_FITS)
        return found;
    why = secure_execution(file);
    if (why)
        return answer(PROGRAM_NEVER, reason, size, "%s %s", file, why);
    if (error == EACCES)
        return answer(PROGRAM_UNREADABLE, reason, size, "%s cannot be read", file);
    /* What is broken, or is not there, is for the kernel to refuse. */
    if (error)
        return PROGRAM_FITS;
    if (!program.interpreter[0] || program.calls_aio || loads_aio(file, program.interpreter))
        return PROGRAM_FITS;
    return answer(PROGRAM_CALLS_NONE, reason, size,
                  "neither %s nor a library that it is linked with calls POSIX AIO", file);
}

int program_library(const char *library, char *reason, unsigned size)
{
    struct elf_file file, self;
    const char *why = NULL;
    struct stat st;
    int error = stat(library, &st) < 0 ? errno : 0;

    if (!error && !S_ISREG(st.st_mode))
        why = "is not a regular file";
    else if (!error)
        error = elf_read_file(library, &file);
    if (error && error != ENOEXEC)
        snprintf(reason, size, "cannot be read: %s", strerror(error));
    else if (error)
        why = "is not an ELF file";
    else if (!why && elf_read_file("/proc/self/exe", &self) == 0 &&
             (file.class != self.class || file.order != self.order || file.machine != self.machine))
        why = "is for another architecture than this program";
    else if (!why && !file.shared)
        why = "is not a shared library";
    else if (!why && !file.defines_aio)
        why = "exports no aio_read";
    else if (!why && !file.is_ours)
        why = "is not libposix-aio: it exports no posix_aio_version";
    else if (!why && strpbrk(library, ": \t\n"))
        why = "has a space or colon in its name";
    if (why)
        snprintf(reason, size, "cannot be preloaded: it %s", why);
    return error || why ? -1 : 0;
}
