/* Fails the n-th write, fsync, rename or open for writing under a folder, or kills the process at it.
   Preloaded, so that it stands below Python and all libraries. `fault_arm` begins to count. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OFF, FAIL_ONCE, FAIL_FROM_THERE, KILL };
static char root[PATH_MAX];
static int mode = OFF, error = 0;
static long target = 0, seen = 0;

void fault_arm(const char *folder, long n, int how, int number) {
    strncpy(root, folder, sizeof root - 1);
    target = n, mode = how, error = number, seen = 0;
}
long fault_count(void) { return seen; }

static int faulty(void) {
    long now = __sync_add_and_fetch(&seen, 1);
    if (mode == KILL && now == target) kill(getpid(), SIGKILL);
    if ((mode == FAIL_ONCE && now == target) || (mode == FAIL_FROM_THERE && now >= target)) {
        errno = error;
        return 1;
    }
    return 0;
}
static int under(const char *path) { return path && strncmp(path, root, strlen(root)) == 0; }
static int path_faulty(const char *path) {
    char whole[2 * PATH_MAX];
    if (mode == OFF) return 0;
    if (path && path[0] != '/' && getcwd(whole, PATH_MAX)) {
        strcat(whole, "/");
        strncat(whole, path, PATH_MAX - 1);
        path = whole;
    }
    return under(path) && faulty();
}
static int fd_faulty(int fd) {
    char link[64], path[PATH_MAX];
    if (mode == OFF) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return under(path) && faulty();
}
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define WRITES(flags) ((flags) & (O_WRONLY | O_RDWR | O_CREAT))
#define OPEN(name)                                                  \
    int name(const char *path, int flags, ...) {                    \
        va_list rest;                                               \
        va_start(rest, flags);                                      \
        int permissions = va_arg(rest, int);                        \
        va_end(rest);                                               \
        if (WRITES(flags) && path_faulty(path)) return -1;          \
        return REAL(name)(path, flags, permissions);                \
    }
#define OPENAT(name)                                                \
    int name(int folder, const char *path, int flags, ...) {        \
        va_list rest;                                               \
        va_start(rest, flags);                                      \
        int permissions = va_arg(rest, int);                        \
        va_end(rest);                                               \
        if (WRITES(flags) && path_faulty(path)) return -1;          \
        return REAL(name)(folder, path, flags, permissions);        \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
FILE *fopen(const char *path, const char *how) {
    return strpbrk(how, "wa+") && path_faulty(path) ? NULL : REAL(fopen)(path, how);
}
FILE *fopen64(const char *path, const char *how) {
    return strpbrk(how, "wa+") && path_faulty(path) ? NULL : REAL(fopen64)(path, how);
}
ssize_t write(int fd, const void *data, size_t size) {
    return fd_faulty(fd) ? -1 : REAL(write)(fd, data, size);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    return fd_faulty(fd) ? -1 : REAL(writev)(fd, parts, count);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t place) {
    return fd_faulty(fd) ? -1 : REAL(pwrite)(fd, data, size, place);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t place) {
    return fd_faulty(fd) ? -1 : REAL(pwrite64)(fd, data, size, place);
}
int fsync(int fd) { return fd_faulty(fd) ? -1 : REAL(fsync)(fd); }
int fdatasync(int fd) { return fd_faulty(fd) ? -1 : REAL(fdatasync)(fd); }
int ftruncate(int fd, off_t size) { return fd_faulty(fd) ? -1 : REAL(ftruncate)(fd, size); }
int ftruncate64(int fd, off64_t size) { return fd_faulty(fd) ? -1 : REAL(ftruncate64)(fd, size); }
int rename(const char *from, const char *to) {
    return path_faulty(to) ? -1 : REAL(rename)(from, to);
}
int renameat(int a, const char *from, int b, const char *to) {
    return path_faulty(to) ? -1 : REAL(renameat)(a, from, b, to);
}
