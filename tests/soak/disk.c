/* A disk that lies, for one process: preloaded, it stands between the process and libc.
 *
 * What it does is in a file of four bytes that both sides map (SOAK_DISK): a mode, and tenths of a second. It concerns
 * paths below SOAK_STORE, and writing below SOAK_JOURNAL.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { HONEST, BROKEN, SLOW, FULL };
enum { OTHERS, OF_STORE, OF_JOURNAL };
#define FILES 65536

static volatile unsigned char *lie;
static const char *store, *journal;
static unsigned char whose[FILES];

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("SOAK_DISK");
    store = getenv("SOAK_STORE");
    journal = getenv("SOAK_JOURNAL");
    int (*really)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    int file = path ? really(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file >= 0) {
        void *found = mmap(NULL, 4, PROT_READ, MAP_SHARED, file, 0);
        lie = found == MAP_FAILED ? NULL : found;
        close(file);
    }
}

static int below(const char *path, const char *place) {
    size_t size = place ? strlen(place) : 0;
    return size && path && !strncmp(path, place, size) && (path[size] == '/' || !path[size]);
}

static int of(const char *path) { return below(path, store) ? OF_STORE : below(path, journal) ? OF_JOURNAL : OTHERS; }

/* Returns what goes wrong with a look at somebody's file: 0, or an error. A slow disk takes its time first. */
static int wrong(int mine, int writes) {
    if (!lie || mine == OTHERS)
        return 0;
    if (mine == OF_JOURNAL)
        return lie[0] == FULL && writes ? ENOSPC : 0;
    if (lie[0] == SLOW) {
        struct timespec rest = {lie[1] / 10, lie[1] % 10 * 100000000L};
        nanosleep(&rest, NULL);
    }
    return lie[0] == BROKEN ? EIO : 0;
}

static int known(int file) { return file >= 0 && file < FILES ? whose[file] : OTHERS; }

#define OPENED(call)                                                                                                   \
    int mine = of(path), error = wrong(mine, flags & (O_WRONLY | O_RDWR));                                             \
    if (error) {                                                                                                       \
        errno = error;                                                                                                 \
        return -1;                                                                                                     \
    }                                                                                                                  \
    mode_t mode = 0;                                                                                                   \
    if (flags & (O_CREAT | O_TMPFILE)) {                                                                               \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        mode = va_arg(more, mode_t);                                                                                   \
        va_end(more);                                                                                                  \
    }                                                                                                                  \
    int file = call;                                                                                                   \
    if (file >= 0 && file < FILES)                                                                                     \
        whose[file] = mine;                                                                                            \
    return file;

int open(const char *path, int flags, ...) {
    static int (*really)(const char *, int, ...);
    if (!really)
        really = dlsym(RTLD_NEXT, "open");
    OPENED(really(path, flags, mode))
}

int open64(const char *path, int flags, ...) {
    static int (*really)(const char *, int, ...);
    if (!really)
        really = dlsym(RTLD_NEXT, "open64");
    OPENED(really(path, flags, mode))
}

DIR *opendir(const char *path) {
    static DIR *(*really)(const char *);
    if (!really)
        really = dlsym(RTLD_NEXT, "opendir");
    int error = wrong(of(path), 0);
    if (error) {
        errno = error;
        return NULL;
    }
    return really(path);
}

int close(int file) {
    static int (*really)(int);
    if (!really)
        really = dlsym(RTLD_NEXT, "close");
    if (file >= 0 && file < FILES)
        whose[file] = OTHERS;
    return really(file);
}

#define THROUGH(type, name, writes, parameters, arguments)                                                             \
    type name parameters {                                                                                             \
        static type(*really) parameters;                                                                               \
        if (!really)                                                                                                   \
            really = dlsym(RTLD_NEXT, #name);                                                                          \
        int error = known(file) == OTHERS ? 0 : wrong(known(file), writes);                                            \
        if (error) {                                                                                                   \
            errno = error;                                                                                             \
            return -1;                                                                                                 \
        }                                                                                                              \
        return really arguments;                                                                                       \
    }

THROUGH(ssize_t, read, 0, (int file, void *to, size_t size), (file, to, size))
THROUGH(ssize_t, pread64, 0, (int file, void *to, size_t size, off64_t at), (file, to, size, at))
THROUGH(ssize_t, write, 1, (int file, const void *from, size_t size), (file, from, size))
THROUGH(ssize_t, pwrite64, 1, (int file, const void *from, size_t size, off64_t at), (file, from, size, at))
THROUGH(ssize_t, writev, 1, (int file, const struct iovec *from, int count), (file, from, count))
