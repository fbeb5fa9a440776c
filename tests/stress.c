/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stress: random requests, lists, cancels, waits, forks and closes from several threads, against a
 * model that knows what every byte and every status must be (stress_model.h).
 *
 *   stress [--seed N] [--actions N] [--seconds N] [--threads N] [--engine NAME] [--directory DIR]
 *
 * Each engine runs in a process of its own. A run is a number of actions of each thread, or lasts
 * some seconds; the same seed chooses the same actions, though not the same timing. Without
 * arguments it is what "make check" runs. It is also a program that needs nothing but POSIX: not
 * linked with libposix-aio it tries what glibc can do, and with LD_PRELOAD it tries the library.
 *
 * The main thread is the watchdog: where a worker does nothing for long, it says who waits for
 * what, and the run has failed.
 */
#include "stress_model.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* Only in libposix-aio (posix-aio.h). */
const char *posix_aio_engine(void) __attribute__((weak));

enum { PATIENCE = 60, SKIPPED = 77 };

static const char *only_engine;
static pthread_barrier_t all_done;

/* ThreadSanitizer delivers signals late, and loses some where several come at once. */
#if defined(__SANITIZE_THREAD__)
static const bool sanitized_threads = true;
#else
static const bool sanitized_threads = false;
#endif

/*
 * A child of a process with threads can hang in a lock of a sanitizer's own, which a thread had that
 * is not there any more; gdb has shown such ones. test-fork has its children in all builds.
 */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
static const bool sanitized = true;
#else
static const bool sanitized = false;
#endif

#if defined(__SANITIZE_THREAD__)
const char *__tsan_default_options(void);
const char *__tsan_default_suppressions(void);

/* Children of a process with threads start threads of their own. */
const char *__tsan_default_options(void)
{
    return "die_after_fork=0";
}

/*
 * ThreadSanitizer takes a descriptor for memory that open writes to and close frees. It does not
 * see the library's own closes, which are bare system calls, and so takes the next file with the
 * same number for a race; and it notes our close before the library, inside close, lets go of it.
 */
const char *__tsan_default_suppressions(void)
{
    return "race:open_anew\nrace:open_descriptors\nrace:in_system_call\nrace:close_under\n"
           "race:target_replace\n";
}
#endif

static bool enough(const struct worker *w, double begun)
{
    if (stress.seconds > 0)
        return now() - begun >= stress.seconds;
    return atomic_load(&w->action) >= stress.actions;
}

static void *work(void *argument)
{
    struct worker *w = argument;
    double begun = now();
    sigset_t ours;

    w->tid = (pid_t) syscall(SYS_gettid);
    sigemptyset(&ours);
    sigaddset(&ours, request_signal);
    sigaddset(&ours, list_signal);
    /* glibc's LIO_WAIT does not outlive a signal. */
    pthread_sigmask(stress.glibc ? SIG_BLOCK : SIG_UNBLOCK, &ours, NULL);
    requests_setup(w);
    targets_open(w);
    while (!enough(w, begun)) {
        random_begin(w, atomic_load(&w->action));
        act(w);
        atomic_fetch_add(&w->action, 1);
        atomic_fetch_add(&w->beat, 1);
    }
    atomic_store(&w->doing, "end");
    targets_close(w);
    atomic_store(&w->doing, "wait for the other workers");
    pthread_barrier_wait(&all_done);
    return NULL;
}

static bool at_end(const struct worker *w)
{
    return strcmp(atomic_load(&w->doing), "wait for the other workers") == 0;
}

/* Looks after the workers until all are done; they move, or the run has failed. */
static void watch(void)
{
    uint64_t last[WORKERS] = { 0 };
    double moved[WORKERS];
    bool all = false;

    for (unsigned int i = 0; i < stress.workers; i++)
        moved[i] = now();
    while (!all) {
        doze(50000000);
        all = true;
        for (unsigned int i = 0; i < stress.workers; i++) {
            struct worker *w = &stress.worker[i];
            uint64_t beat = atomic_load(&w->beat);

            if (beat != last[i] || at_end(w))
                moved[i] = now();
            last[i] = beat;
            all &= at_end(w);
            if (now() - moved[i] > PATIENCE * stress.scale)
                fail(w, "it hangs: worker %u has done nothing for %d s (%s)", i,
                     PATIENCE * (int) stress.scale, atomic_load(&w->doing));
        }
    }
    for (unsigned int i = 0; i < stress.workers; i++)
        pthread_join(stress.worker[i].thread, NULL);
}

static void report(double begun)
{
    uint64_t actions = 0, done = 0, canceled = 0, notifications = 0;

    for (unsigned int i = 0; i < stress.workers; i++) {
        actions += stress.worker[i].action;
        done += stress.worker[i].done;
        canceled += stress.worker[i].canceled;
        notifications += stress.worker[i].notifications;
    }
    printf("stress:   %llu actions, %llu requests, %llu canceled, %llu notified, %.1f s\n",
           (unsigned long long) actions, (unsigned long long) done, (unsigned long long) canceled,
           (unsigned long long) notifications, now() - begun);
}

static int run(const char *engine)
{
    const char *is = posix_aio_engine ? posix_aio_engine() : "glibc";
    double begun = now();

    if (engine && strcmp(is, engine) != 0) {
        printf("stress: SKIP: engine %s is not to be had here: the library chose %s\n", engine, is);
        return SKIPPED;
    }
    stress.glibc = !posix_aio_engine;
    stress.unsignaled = sanitized_threads;
    stress.childless = sanitized;
    if (sanitized)
        printf("stress: no forks under a sanitizer\n");
    if (stress.glibc)
        aio_init(&(struct aioinit){ .aio_threads = 200, .aio_num = 1024 });
    printf("stress: engine %s, seed %llu, %u threads\n", is, (unsigned long long) stress.seed,
           stress.workers);
    fflush(stdout);
    handlers_setup();
    stress.worker = calloc(stress.workers, sizeof *stress.worker);
    if (!stress.worker)
        fail(NULL, "no memory for the workers");
    shared_open();
    pthread_barrier_init(&all_done, NULL, stress.workers);
    for (unsigned int i = 0; i < stress.workers; i++) {
        struct worker *w = &stress.worker[i];

        w->number = i;
        atomic_store(&w->doing, "begin");
    }
    for (unsigned int i = 0; i < stress.workers; i++)
        if (pthread_create(&stress.worker[i].thread, NULL, work, &stress.worker[i]) != 0)
            fail(NULL, "pthread_create failed");
    watch();
    shared_check();
    report(begun);
    return 0;
}

/* In a process of its own, whose environment names the engine before the library starts. */
static int run_apart(const char *engine)
{
    pid_t child;
    int status;

    fflush(stdout);
    child = fork();
    if (child == 0) {
        if (engine)
            setenv("LIBPOSIX_AIO_ENGINE", engine, 1);
        status = run(engine);
        fflush(stdout);
        exit(status);
    }
    if (child < 0 || waitpid(child, &status, 0) < 0)
        fail(NULL, "cannot start a run: %s", strerror(errno));
    if (!WIFEXITED(status))
        printf("stress: FAILED: killed by signal %d\n", WTERMSIG(status));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static void read_options(int argc, char **argv)
{
    static const struct option options[] = {
        { "seed", required_argument, NULL, 's' },
        { "actions", required_argument, NULL, 'a' },
        { "ops", required_argument, NULL, 'a' },
        { "seconds", required_argument, NULL, 't' },
        { "threads", required_argument, NULL, 'n' },
        { "engine", required_argument, NULL, 'e' },
        { "hold", no_argument, NULL, 'h' },
        { "directory", required_argument, NULL, 'd' },
        { NULL, 0, NULL, 0 },
    };
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 's')
            stress.seed = strtoull(optarg, NULL, 0);
        else if (option == 'a')
            stress.actions = strtoull(optarg, NULL, 0);
        else if (option == 't')
            stress.seconds = strtod(optarg, NULL);
        else if (option == 'n')
            stress.workers = (unsigned int) strtoul(optarg, NULL, 0);
        else if (option == 'e')
            only_engine = optarg;
        else if (option == 'd')
            stress.directory = optarg;
        else if (option == 'h')
            stress.hold = true;
        else
            option = '?';
        if (option == '?' || stress.workers < 1 || stress.workers > WORKERS) {
            fprintf(stderr,
                    "usage: stress [--seed N] [--actions N] [--seconds N] [--threads 1..%d] "
                    "[--engine NAME]\n"
                    "              [--directory DIR] [--hold]\n",
                    WORKERS);
            exit(2);
        }
    }
}

int main(int argc, char **argv)
{
    static const char *const engines[] = { "kernel", "pool" };
    const char *scale = getenv("T_SCALE"), *required = getenv("T_REQUIRE_ENGINES");
    int passed = 0, failed = 0, skipped = 0;

    stress.scale = scale && atoi(scale) > 1 ? (unsigned int) atoi(scale) : 1;
    stress.seed = 1;
    stress.actions = 4000 / stress.scale;
    stress.workers = 4;
    stress.directory = ".";
    read_options(argc, argv);
    for (size_t i = 0; i < sizeof engines / sizeof engines[0]; i++) {
        const char *engine = posix_aio_engine ? engines[i] : NULL;
        int status;

        if (engine && only_engine && strcmp(only_engine, engine) != 0)
            continue;
        status = run_apart(engine);
        if (status == SKIPPED && required && *required == '1')
            status = 1;
        passed += status == 0;
        skipped += status == SKIPPED;
        failed += status != 0 && status != SKIPPED;
        if (!engine)
            break;
    }
    if (!posix_aio_engine && required && *required == '1') {
        printf("stress: FAILED: this is glibc's AIO, and T_REQUIRE_ENGINES wants ours\n");
        failed++;
    }
    printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
    return failed ? 1 : passed ? 0 : SKIPPED;
}
