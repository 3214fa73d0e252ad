// Preloaded into a program, it counts the calls that change files below a folder, and has one of them fail or the
// program killed there. tests/support/failpoints.rs builds it, sets its variables and reads its record.
//
// IPSIGHT_FAIL_BELOW   the folder, without links in its path
// IPSIGHT_FAIL_RECORD  a file of struct record, which all processes of a run share
// IPSIGHT_FAIL_AT      the number of the call, from 1; 0: none
// IPSIGHT_FAIL_HOW     kill: SIGKILL before the call; kill-half: after half of it, where it is a write;
//                      enospc, eio: this call fails; enospc-on, eio-on: all do from this one on
//
// Calls that only free room do not fail and are not counted where others do. A write that finds the disk full takes
// its first half, as a disk does that has a little room left.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

struct record {
    uint64_t num_calls;
    uint64_t num_hits;
    char first_hit[496];
};

enum how { KILL, KILL_HALF, FAIL_ONCE, FAIL_ON };

static struct {
    struct record *record;
    const char *below;
    uint64_t at;
    enum how how;
    int error;
} plan;

#define REAL(name, type, ...)                                            \
    static type (*real)(__VA_ARGS__);                                    \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static int real_open(const char *path, int flags, mode_t mode) {
    REAL("open64", int, const char *, int, ...);
    return real(path, flags, mode);
}

__attribute__((constructor)) static void begin(void) {
    const char *below = getenv("IPSIGHT_FAIL_BELOW"), *path = getenv("IPSIGHT_FAIL_RECORD");
    const char *at = getenv("IPSIGHT_FAIL_AT"), *how = getenv("IPSIGHT_FAIL_HOW");
    if (!below || !path || !at || !how) return;
    int fd = real_open(path, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0) return;
    void *memory = mmap(NULL, sizeof(struct record), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (memory == MAP_FAILED) return;
    plan.below = below;
    plan.at = strtoull(at, NULL, 10);
    plan.error = strncmp(how, "eio", 3) == 0 ? EIO : ENOSPC;
    plan.how = strcmp(how, "kill") == 0        ? KILL
               : strcmp(how, "kill-half") == 0 ? KILL_HALF
               : strstr(how, "-on")            ? FAIL_ON
                                               : FAIL_ONCE;
    plan.record = memory;
}

static int is_below(const char *path) {
    size_t length = strlen(plan.below);
    return strncmp(path, plan.below, length) == 0 && (path[length] == '/' || path[length] == 0);
}

static int fd_path(int fd, char *path, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, size - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return 1;
}

static int full_path(int folder, const char *name, char *path, size_t size) {
    if (name[0] == '/') return snprintf(path, size, "%s", name) < (int)size;
    char start[4096];
    if (folder == AT_FDCWD ? !getcwd(start, sizeof start) : !fd_path(folder, start, sizeof start)) return 0;
    return snprintf(path, size, "%s/%s", start, name) < (int)size;
}

enum verdict { PASS, FAIL, HALF, KILL_AFTER_HALF };

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

// Counts a call on a path. Where it returns FAIL, errno is set.
static enum verdict judge(const char *call, const char *path, int frees, int is_write) {
    if (!plan.record || !is_below(path)) return PASS;
    int kills = plan.how == KILL || plan.how == KILL_HALF;
    if (frees && !kills) return PASS;
    uint64_t number = __atomic_add_fetch(&plan.record->num_calls, 1, __ATOMIC_SEQ_CST);
    if (plan.at == 0 || number < plan.at || (number > plan.at && plan.how != FAIL_ON)) return PASS;
    if (__atomic_fetch_add(&plan.record->num_hits, 1, __ATOMIC_SEQ_CST) == 0) {
        snprintf(plan.record->first_hit, sizeof plan.record->first_hit, "%s %s", call, path);
    }
    if (plan.how == KILL || (plan.how == KILL_HALF && !is_write)) die();
    if (plan.how == KILL_HALF) return KILL_AFTER_HALF;
    if (plan.how == FAIL_ON && number == plan.at && is_write && plan.error == ENOSPC) return HALF;
    errno = plan.error;
    return FAIL;
}

static enum verdict judge_fd(const char *call, int fd, int frees, int is_write) {
    char path[4096];
    if (!plan.record || !fd_path(fd, path, sizeof path)) return PASS;
    return judge(call, path, frees, is_write);
}

static enum verdict judge_at(const char *call, int folder, const char *name, int frees) {
    char path[8192];
    if (!plan.record || !full_path(folder, name, path, sizeof path)) return PASS;
    return judge(call, path, frees, 0);
}

#define WRITE(name, declaration, arguments, half_arguments, length)                      \
    ssize_t name declaration {                                                           \
        static ssize_t(*real) declaration;                                               \
        if (!real) real = (ssize_t(*) declaration)dlsym(RTLD_NEXT, #name);               \
        switch (judge_fd(#name, fd, 0, 1)) {                                             \
        case FAIL: return -1;                                                            \
        case HALF:                                                                       \
            if ((length) > 1) return real half_arguments;                                \
            errno = plan.error;                                                          \
            return -1;                                                                   \
        case KILL_AFTER_HALF:                                                            \
            real half_arguments;                                                         \
            die();                                                                       \
        case PASS: break;                                                                \
        }                                                                                \
        return real arguments;                                                           \
    }

WRITE(write, (int fd, const void *bytes, size_t size), (fd, bytes, size), (fd, bytes, size / 2), size)
WRITE(pwrite, (int fd, const void *bytes, size_t size, off_t at), (fd, bytes, size, at),
      (fd, bytes, size / 2, at), size)
WRITE(pwrite64, (int fd, const void *bytes, size_t size, off64_t at), (fd, bytes, size, at),
      (fd, bytes, size / 2, at), size)
WRITE(writev, (int fd, const struct iovec *parts, int num), (fd, parts, num), (fd, parts, num / 2), num)

ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t size, unsigned flags) {
    REAL("copy_file_range", ssize_t, int, off64_t *, int, off64_t *, size_t, unsigned);
    if (judge_fd("copy_file_range", to, 0, 0) == FAIL) return -1;
    return real(from, from_at, to, to_at, size, flags);
}

ssize_t sendfile64(int to, int from, off64_t *at, size_t size) {
    REAL("sendfile64", ssize_t, int, int, off64_t *, size_t);
    if (judge_fd("sendfile", to, 0, 0) == FAIL) return -1;
    return real(to, from, at, size);
}

#define ON_FD(name)                                                                      \
    int name(int fd) {                                                                   \
        REAL(#name, int, int);                                                           \
        return judge_fd(#name, fd, 0, 0) == FAIL ? -1 : real(fd);                        \
    }

ON_FD(fsync)
ON_FD(fdatasync)

#define TRUNCATE(name, type)                                                             \
    int name(int fd, type size) {                                                        \
        REAL(#name, int, int, type);                                                     \
        struct stat status;                                                              \
        int frees = fstat(fd, &status) == 0 && size <= status.st_size;                   \
        return judge_fd(#name, fd, frees, 0) == FAIL ? -1 : real(fd, size);              \
    }

TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

#define CREATES(flags) ((flags) & O_CREAT || ((flags) & O_TMPFILE) == O_TMPFILE)

#define OPEN(name)                                                                       \
    int name(const char *path, int flags, ...) {                                         \
        REAL(#name, int, const char *, int, ...);                                        \
        va_list more;                                                                    \
        va_start(more, flags);                                                           \
        mode_t mode = CREATES(flags) ? va_arg(more, mode_t) : 0;                         \
        va_end(more);                                                                    \
        if ((CREATES(flags) || flags & O_TRUNC) && judge_at(#name, AT_FDCWD, path, 0) == FAIL) return -1; \
        return real(path, flags, mode);                                                  \
    }

OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                     \
    int name(int folder, const char *path, int flags, ...) {                             \
        REAL(#name, int, int, const char *, int, ...);                                   \
        va_list more;                                                                    \
        va_start(more, flags);                                                           \
        mode_t mode = CREATES(flags) ? va_arg(more, mode_t) : 0;                         \
        va_end(more);                                                                    \
        if ((CREATES(flags) || flags & O_TRUNC) && judge_at(#name, folder, path, 0) == FAIL) return -1; \
        return real(folder, path, flags, mode);                                          \
    }

OPENAT(openat)
OPENAT(openat64)

int mkdir(const char *path, mode_t mode) {
    REAL("mkdir", int, const char *, mode_t);
    return judge_at("mkdir", AT_FDCWD, path, 0) == FAIL ? -1 : real(path, mode);
}

int rename(const char *from, const char *to) {
    REAL("rename", int, const char *, const char *);
    return judge_at("rename", AT_FDCWD, to, 0) == FAIL ? -1 : real(from, to);
}

int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    REAL("renameat", int, int, const char *, int, const char *);
    return judge_at("renameat", to_folder, to, 0) == FAIL ? -1 : real(from_folder, from, to_folder, to);
}

int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags) {
    REAL("renameat2", int, int, const char *, int, const char *, unsigned);
    return judge_at("renameat2", to_folder, to, 0) == FAIL ? -1 : real(from_folder, from, to_folder, to, flags);
}

int unlink(const char *path) {
    REAL("unlink", int, const char *);
    return judge_at("unlink", AT_FDCWD, path, 1) == FAIL ? -1 : real(path);
}

int unlinkat(int folder, const char *path, int flags) {
    REAL("unlinkat", int, int, const char *, int);
    return judge_at("unlinkat", folder, path, 1) == FAIL ? -1 : real(folder, path, flags);
}

int rmdir(const char *path) {
    REAL("rmdir", int, const char *);
    return judge_at("rmdir", AT_FDCWD, path, 1) == FAIL ? -1 : real(path);
}
