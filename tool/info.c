/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * posix-aio info: what the kernel offers, and which way requests go.
 */
#include "info.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "posix-aio.h"
#include "process.h"
#include "tool.h"

void info_line(const char *name, const char *format, ...)
{
    va_list arguments;

    printf("%-16s  ", name);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
}

/* A variable of the library's environment, its known values, and what others come to. */
static const struct variable {
    const char *name;
    const char *known[3]; /* an empty value is the same as none */
    const char *otherwise;
} variables[] = {
    { "LIBPOSIX_AIO_ENGINE", { "auto", "kernel", "pool" }, "as auto" },
    { "LIBPOSIX_AIO_ORDER", { "descriptor" }, "in any order" },
};

static void print_variable(const struct variable *variable)
{
    const char *value = getenv(variable->name);
    bool known = false;

    if (!value)
        return;
    for (unsigned i = 0; i < 3 && variable->known[i]; i++)
        known = known || strcmp(value, variable->known[i]) == 0;
    if (known || !*value)
        info_line("environment", "%s=%s", variable->name, value);
    else
        info_line("environment", "%s=%s (not known, ignored: %s)", variable->name, value,
                  variable->otherwise);
}

void info_settings(void)
{
    const char *engine = posix_aio_engine(), *reason = paio_settings.reason;

    for (unsigned i = 0; i < sizeof variables / sizeof variables[0]; i++)
        print_variable(&variables[i]);
    info_line("engine", "%s%s%s%s", engine, *reason ? " (" : "", reason, *reason ? ")" : "");
}

int tool_info(int argc, char *argv[])
{
    int status = TOOL_OK, first = 1;

    if (argc > 1 && strcmp(argv[1], "--help") == 0)
        return tool_help();
    if (argc > 1 && strcmp(argv[1], "--") == 0)
        first = 2;
    else if (argc > 1 && argv[1][0] == '-' && argv[1][1])
        return tool_misused(TOOL_USAGE, "info has no option %s", argv[1]);
    if (argc > first + 1)
        return tool_misused(TOOL_USAGE, "info takes one FILE");
    /* This program is not what LIBPOSIX_AIO_STATS is meant for. */
    unsetenv("LIBPOSIX_AIO_STATS");
    posix_aio_engine(); /* starts the library: its settings are needed from here on */
    if (argc > first) {
        status = info_file(argv[first]);
    } else {
        info_kernel();
        info_settings();
        info_ways();
    }
    return tool_flush() == TOOL_OK ? status : TOOL_FAILED;
}
