/* Preloaded into a writer: records what it writes, cuts and syncs below SYNC_TRACE_FOLDER, in the order it happened.
 *
 * A record is kind 'w' | 't' | 's', lengths of path and data, offset, path, data; it goes to SYNC_TRACE_FD in one write.
 * Syncs are recorded only: the test decides what the disk kept. Shared memory (-shm) is no file as far as power goes. */
#define _GNU_SOURCE
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;

/* Length of the path of a traced file, 0 for all others. */
static int traced(int fd, char path[PATH_MAX])
{
    const char *folder = getenv("SYNC_TRACE_FOLDER");
    char link[64];
    ssize_t length;

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, PATH_MAX - 1);
    if (folder == NULL || length <= 0 || strncmp(path, folder, strlen(folder)) != 0)
        return 0;
    path[length] = 0;
    return strstr(path, "-shm") != NULL || strstr(path, ".lock") != NULL ? 0 : (int)length;
}

static void record(char kind, const char *path, uint32_t path_length, uint64_t offset, const void *data, uint32_t size)
{
    size_t total = 17 + path_length + size;
    char *whole = malloc(total);

    if (whole == NULL)
        abort();
    whole[0] = kind;
    memcpy(whole + 1, &path_length, 4);
    memcpy(whole + 5, &size, 4);
    memcpy(whole + 9, &offset, 8);
    memcpy(whole + 17, path, path_length);
    if (size != 0)
        memcpy(whole + 17 + path_length, data, size);
    if (syscall(SYS_write, atoi(getenv("SYNC_TRACE_FD")), whole, total) != (long)total)
        abort();
    free(whole);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
    char path[PATH_MAX];
    int length = traced(fd, path);
    ssize_t done;

    pthread_mutex_lock(&order);
    done = syscall(SYS_pwrite64, fd, data, size, offset);
    if (length != 0 && done > 0)
        record('w', path, length, offset, data, done);
    pthread_mutex_unlock(&order);
    return done;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    return pwrite64(fd, data, size, offset);
}

ssize_t write(int fd, const void *data, size_t size)
{
    char path[PATH_MAX];
    int length = traced(fd, path);

    if (length == 0)
        return syscall(SYS_write, fd, data, size);
    off_t offset = lseek(fd, 0, SEEK_CUR);
    ssize_t done = pwrite64(fd, data, size, offset);
    if (done > 0)
        lseek(fd, offset + done, SEEK_SET);
    return done;
}

int ftruncate64(int fd, off64_t size)
{
    char path[PATH_MAX];
    int length = traced(fd, path), failed;

    pthread_mutex_lock(&order);
    failed = syscall(SYS_ftruncate, fd, size);
    if (length != 0 && !failed)
        record('t', path, length, size, NULL, 0);
    pthread_mutex_unlock(&order);
    return failed;
}

int ftruncate(int fd, off_t size)
{
    return ftruncate64(fd, size);
}

int fsync(int fd)
{
    char path[PATH_MAX];
    int length = traced(fd, path);

    if (length == 0)
        return syscall(SYS_fsync, fd);
    pthread_mutex_lock(&order);
    record('s', path, length, 0, NULL, 0);
    pthread_mutex_unlock(&order);
    return 0;
}

int fdatasync(int fd)
{
    return fsync(fd);
}
