/* Preloaded into a program: while the file that SLOW_DISK names is there, its disk does not answer (`hang` in the
   file) or refuses what it is given (`fail`). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static char mode(void) {
    char first = 0;
    const char *path = getenv("SLOW_DISK");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        if (read(fd, &first, 1) != 1) first = 0;
        close(fd);
    }
    return first;
}

static int synced(long call, int fd) {
    while (mode() == 'h') usleep(5000);
    if (mode() == 'f') {
        errno = EIO;
        return -1;
    }
    return (int)syscall(call, fd);
}

int fdatasync(int fd) { return synced(SYS_fdatasync, fd); }
int fsync(int fd) { return synced(SYS_fsync, fd); }
