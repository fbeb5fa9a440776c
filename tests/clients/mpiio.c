/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writes one shared file from all ranks by non-blocking MPI-IO, and reads it back. The file holds
 * 64-bit numbers, each its own index, so that what is right can be told without MPI.
 *
 *   mpiio FILE [alone]
 *
 * Its first half is written through strided views, block after block from rank after rank; its
 * second half in contiguous pieces, a segment a rank. Each rank then reads what its neighbor
 * wrote, in pieces of another size, and compares it.
 *
 * With "alone" no thread can be started once MPI has its own: aio_write, which takes one, gives EAGAIN.
 */
#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <mpi.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

enum {
    BLOCK = 512,            /* numbers in a block of the strided half */
    BLOCKS = 1024,          /* blocks of each rank */
    MINE = BLOCK * BLOCKS,  /* numbers of each rank in each half */
    MOST = 64,              /* requests at once */
};

static void check(int error, const char *what)
{
    char text[MPI_MAX_ERROR_STRING];
    int length;

    if (error == MPI_SUCCESS)
        return;
    MPI_Error_string(error, text, &length);
    fprintf(stderr, "mpiio: %s: %s\n", what, text);
    MPI_Abort(MPI_COMM_WORLD, 1);
}

/* From here on pthread_create fails, as where a limit on processes is reached, which root is not under. */
static void start_no_thread(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAGAIN),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) {
        perror("mpiio: seccomp");
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
}

static void expect_refusal(void)
{
    static char byte;
    struct aiocb cb = {.aio_fildes = open("/dev/null", O_WRONLY), .aio_buf = &byte, .aio_nbytes = 1};

    if (cb.aio_fildes < 0 || aio_write(&cb) != -1 || errno != EAGAIN) {
        fprintf(stderr, "mpiio: aio_write without threads: no EAGAIN\n");
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
}

/* The number at a place of a rank's share. */
static uint64_t strided(int rank, int ranks, int place)
{
    return ((uint64_t)(place / BLOCK) * ranks + rank) * BLOCK + place % BLOCK;
}

static uint64_t contiguous(int rank, int ranks, int place)
{
    return (uint64_t)MINE * ranks + (uint64_t)MINE * rank + place;
}

static void wait_all(int n, MPI_Request *requests)
{
    MPI_Status statuses[MOST];

    check(MPI_Waitall(n, requests, statuses), "MPI_Waitall");
}

static void poll_all(int n, MPI_Request *requests)
{
    int done, left = n;
    MPI_Status status;

    while (left > 0)
        for (int i = left = 0; i < n; i++)
            if (requests[i] != MPI_REQUEST_NULL) {
                check(MPI_Test(&requests[i], &done, &status), "MPI_Test");
                left += !done;
            }
}

static void set_strided_view(MPI_File file, int rank, int ranks)
{
    MPI_Datatype blocks;

    check(MPI_Type_vector(BLOCKS, BLOCK, BLOCK * ranks, MPI_UINT64_T, &blocks), "MPI_Type_vector");
    check(MPI_Type_commit(&blocks), "MPI_Type_commit");
    check(MPI_File_set_view(file, (MPI_Offset)rank * BLOCK * 8, MPI_UINT64_T, blocks, "native",
                            MPI_INFO_NULL), "MPI_File_set_view");
    check(MPI_Type_free(&blocks), "MPI_Type_free");
}

static void set_contiguous_view(MPI_File file, int rank, int ranks)
{
    check(MPI_File_set_view(file, (MPI_Offset)contiguous(rank, ranks, 0) * 8, MPI_UINT64_T,
                            MPI_UINT64_T, "native", MPI_INFO_NULL), "MPI_File_set_view");
}

/* Moves a rank's share in the given number of requests. */
static void transfer(MPI_File file, int writing, uint64_t *numbers, int pieces)
{
    MPI_Request requests[MOST];
    int size = MINE / pieces;

    for (int i = 0; i < pieces; i++)
        if (writing)
            check(MPI_File_iwrite_at(file, (MPI_Offset)i * size, numbers + i * size, size,
                                     MPI_UINT64_T, &requests[i]), "MPI_File_iwrite_at");
        else
            check(MPI_File_iread_at(file, (MPI_Offset)i * size, numbers + i * size, size,
                                    MPI_UINT64_T, &requests[i]), "MPI_File_iread_at");
    if (writing)
        poll_all(pieces, requests);
    else
        wait_all(pieces, requests);
}

static void compare(const uint64_t *numbers, uint64_t (*expected)(int, int, int), int rank, int ranks)
{
    for (int i = 0; i < MINE; i++)
        if (numbers[i] != expected(rank, ranks, i)) {
            fprintf(stderr, "mpiio: place %d of rank %d has %llu, not %llu\n", i, rank,
                    (unsigned long long)numbers[i],
                    (unsigned long long)expected(rank, ranks, i));
            MPI_Abort(MPI_COMM_WORLD, 1);
        }
}

int main(int argc, char **argv)
{
    int rank, ranks;
    MPI_File file;
    uint64_t *numbers = malloc(MINE * sizeof *numbers);

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    if (argc < 2 || numbers == NULL)
        MPI_Abort(MPI_COMM_WORLD, 1);
    if (argc > 2) {
        start_no_thread();
        expect_refusal();
    }
    check(MPI_File_open(MPI_COMM_WORLD, argv[1], MPI_MODE_CREATE | MPI_MODE_RDWR, MPI_INFO_NULL,
                        &file), "MPI_File_open");

    for (int i = 0; i < MINE; i++)
        numbers[i] = strided(rank, ranks, i);
    set_strided_view(file, rank, ranks);
    transfer(file, 1, numbers, 16);
    for (int i = 0; i < MINE; i++)
        numbers[i] = contiguous(rank, ranks, i);
    set_contiguous_view(file, rank, ranks);
    transfer(file, 1, numbers, MOST);
    check(MPI_File_sync(file), "MPI_File_sync");
    MPI_Barrier(MPI_COMM_WORLD);

    rank = (rank + 1) % ranks;
    set_strided_view(file, rank, ranks);
    transfer(file, 0, numbers, 8);
    compare(numbers, strided, rank, ranks);
    set_contiguous_view(file, rank, ranks);
    transfer(file, 0, numbers, 32);
    compare(numbers, contiguous, rank, ranks);

    check(MPI_File_close(&file), "MPI_File_close");
    printf("mpiio: what rank %d wrote is right\n", rank);
    MPI_Finalize();
    free(numbers);
    return 0;
}
