/* Power loss for one process: an LD_PRELOAD layer that remembers what was not yet synced under a directory.
 *
 * Everything is written through, so that the process reads what it wrote; what would be needed to take it back
 * is kept in a shadow directory, where `tests/crash/src/power.rs` finds it after the process was killed:
 *
 *   N.undo   for the file with inode N: its synced size (8 bytes), then the synced content of whatever was
 *            overwritten or cut off since: records of offset (8), length (8), bytes
 *   entries  names created (C), renamed (R), removed (U) and directories made (M) that no fsync of their
 *            directory has made durable, in order, one a line
 *   saved.N  what a removed or replaced name pointed to
 *
 * Only fsync and fdatasync make content durable, only fsync of a directory makes names durable, as POSIX has it:
 * fsync of a file does not sync its name here, and nothing is written back in between. A sync counts what was
 * written before it began, and takes POWER_SYNC_US microseconds; the disk's own sync is left out. A call that
 * this layer does not know how to take back (a shared writable mapping, a hard link) ends the process. Calls
 * that bypass libc are not seen: what is written so (the daemon's key files) counts as synced.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS_MAX 65536
#define FILES_MAX 65536
#define LINE_MAX_BYTES (3 * PATH_MAX)

/* A file that was changed since this process started. */
struct file {
    ino_t inode; /* 0: unused */
    int64_t synced;
    int undo; /* descriptor of N.undo */
};

static struct file files[FILES_MAX];
static struct file *by_fd[FDS_MAX]; /* NULL: not ours, or not changed yet */
static char *dir_by_fd[FDS_MAX];    /* path of an open directory of ours */
static unsigned char ours[FDS_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH_MAX], shadow[PATH_MAX];
static size_t root_len;
static useconds_t sync_us;
static unsigned long saved_count;

static int (*real_open)(const char *, int, ...);
static int (*real_openat)(int, const char *, int, ...);
static int (*real_close)(int);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int (*real_ftruncate)(int, off_t);
static int (*real_rename)(const char *, const char *);
static int (*real_unlink)(const char *);
static int (*real_mkdir)(const char *, mode_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);

static void give_up(const char *what) {
    dprintf(2, "power.c: %s: %s\n", what, strerror(errno));
    _exit(70);
}

__attribute__((constructor)) static void begin(void) {
#define REAL(name) real_##name = dlsym(RTLD_NEXT, #name)
    REAL(open), REAL(openat), REAL(close), REAL(write), REAL(writev), REAL(pwrite), REAL(ftruncate);
    REAL(rename), REAL(unlink), REAL(mkdir), REAL(fsync), REAL(fdatasync);
    const char *dir = getenv("POWER_ROOT"), *beside = getenv("POWER_SHADOW"), *us = getenv("POWER_SYNC_US");
    if (!dir || !beside) return;
    snprintf(root, sizeof root, "%s", dir);
    snprintf(shadow, sizeof shadow, "%s", beside);
    root_len = strlen(root);
    sync_us = us ? (useconds_t)atoi(us) : 0;
}

static int within(const char *path) {
    return root_len && !strncmp(path, root, root_len) && (path[root_len] == '/' || !path[root_len]);
}

static int is_ours(int fd) { return fd >= 0 && fd < FDS_MAX && ours[fd]; }

static void all(int fd, const void *bytes, size_t len) {
    if (real_write(fd, bytes, len) != (ssize_t)len) give_up("writing to the shadow directory");
}

/* ---- content ---- */

static struct file *slot(ino_t inode) {
    for (size_t n = 0; n < FILES_MAX; n++) {
        struct file *file = &files[(inode + n) % FILES_MAX];
        if (!file->inode || file->inode == inode) return file;
    }
    give_up("too many files");
    return NULL;
}

static void head(struct file *file, int64_t synced) {
    file->synced = synced;
    if (real_pwrite(file->undo, &synced, sizeof synced, 0) != sizeof synced) give_up("an undo file");
}

static struct file *start(ino_t inode, int64_t synced) {
    struct file *file = slot(inode);
    char path[PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/%ju.undo", shadow, (uintmax_t)inode);
    if (!file->inode) {
        file->inode = inode;
        file->undo = real_open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (file->undo < 0) give_up("making an undo file");
    }
    if (real_ftruncate(file->undo, 0)) give_up("emptying an undo file");
    head(file, synced);
    return file;
}

/* The record of an open file of ours; at its first change, what is there counts as synced. */
static struct file *changed(int fd) {
    if (by_fd[fd]) return by_fd[fd];
    struct stat st;
    if (fstat(fd, &st)) give_up("fstat");
    struct file *file = slot(st.st_ino);
    return by_fd[fd] = file->inode ? file : start(st.st_ino, st.st_size);
}

/* Keeps the synced bytes between these offsets. */
static void keep(int fd, int64_t from, int64_t to) {
    struct file *file = changed(fd);
    if (to > file->synced) to = file->synced;
    if (from >= to) return;
    int64_t place[2] = {from, to - from};
    char *bytes = malloc((size_t)place[1]), path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int reader = real_open(path, O_RDONLY | O_CLOEXEC);
    if (!bytes || reader < 0 || pread(reader, bytes, (size_t)place[1], from) != place[1]) give_up("reading back");
    lseek(file->undo, 0, SEEK_END);
    all(file->undo, place, sizeof place);
    all(file->undo, bytes, (size_t)place[1]);
    real_close(reader);
    free(bytes);
}

static void before_write(int fd, int64_t at, size_t len) {
    if (at < 0) {
        int flags = fcntl(fd, F_GETFL);
        at = lseek(fd, 0, flags >= 0 && flags & O_APPEND ? SEEK_END : SEEK_CUR);
    }
    keep(fd, at, at + (int64_t)len);
}

/* ---- names ---- */

static void entry(const char *line) {
    char path[PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/entries", shadow);
    int fd = real_open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) give_up("entries");
    all(fd, line, strlen(line));
    real_close(fd);
}

static void entryf(const char *format, ...) {
    char line[LINE_MAX_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    entry(line);
}

/* Another name for what `path` points to; 0 if there is nothing. */
static unsigned long save(const char *path) {
    char saved[PATH_MAX + 32];
    snprintf(saved, sizeof saved, "%s/saved.%lu", shadow, ++saved_count);
    int (*real_link)(const char *, const char *) = dlsym(RTLD_NEXT, "link");
    if (!real_link(path, saved)) return saved_count;
    if (errno != ENOENT) give_up("saving a name");
    return 0;
}

static int names_in(const char *path, const char *dir) {
    size_t len = strlen(dir);
    return !strncmp(path, dir, len) && path[len] == '/' && !strchr(path + len + 1, '/');
}

/* Names of this directory are durable now: their lines go. Fields are separated by tabs. */
static void names_synced(const char *dir) {
    char path[PATH_MAX + 32], next[PATH_MAX + 32], line[LINE_MAX_BYTES];
    snprintf(path, sizeof path, "%s/entries", shadow);
    snprintf(next, sizeof next, "%s/entries.next", shadow);
    FILE *from = fopen(path, "r");
    if (!from) return;
    FILE *to = fopen(next, "w");
    while (to && fgets(line, sizeof line, from)) {
        char copy[LINE_MAX_BYTES], *rest = copy;
        strcpy(copy, line);
        copy[strcspn(copy, "\n")] = 0;
        strsep(&rest, "\t"), strsep(&rest, "\t");
        const char *name = strsep(&rest, "\t");
        if (!name || !names_in(name, dir)) fputs(line, to);
    }
    fclose(from);
    if (!to || fclose(to) || real_rename(next, path)) give_up("entries");
}

/* ---- the calls ---- */

static int opened(int fd, const char *path, int flags, int existed) {
    if (fd < 0 || fd >= FDS_MAX || !within(path)) return fd;
    struct stat st;
    if (fstat(fd, &st)) give_up("fstat");
    by_fd[fd] = NULL;
    if (S_ISDIR(st.st_mode)) {
        free(dir_by_fd[fd]);
        dir_by_fd[fd] = strdup(path);
    } else if (S_ISREG(st.st_mode)) {
        ours[fd] = 1;
        if (flags & O_CREAT && !existed) {
            by_fd[fd] = start(st.st_ino, 0);
            entryf("C\t0\t%s\n", path);
        }
    }
    return fd;
}

static int open_it(int at, const char *path, int flags, mode_t mode) {
    if (!within(path)) return real_openat(at, path, flags, mode);
    pthread_mutex_lock(&lock);
    int existed = !access(path, F_OK);
    if (flags & O_TRUNC && existed) {
        int fd = real_open(path, O_RDWR | O_CLOEXEC);
        struct stat st;
        if (fd < 0 || fd >= FDS_MAX || fstat(fd, &st)) give_up("opening to truncate");
        by_fd[fd] = NULL;
        keep(fd, 0, st.st_size);
        by_fd[fd] = NULL;
        real_close(fd);
    }
    int fd = opened(real_openat(at, path, flags, mode), path, flags, existed);
    int error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return fd;
}

#define MODE(flags, last) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | __O_TMPFILE)) { \
        va_list args; \
        va_start(args, last); \
        mode = va_arg(args, mode_t); \
        va_end(args); \
    }

int open(const char *path, int flags, ...) { MODE(flags, flags) return open_it(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags, flags) return open_it(AT_FDCWD, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { MODE(flags, flags) return open_it(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE(flags, flags) return open_it(at, path, flags, mode); }

int close(int fd) {
    if (fd >= 0 && fd < FDS_MAX) {
        pthread_mutex_lock(&lock);
        ours[fd] = 0;
        by_fd[fd] = NULL;
        free(dir_by_fd[fd]);
        dir_by_fd[fd] = NULL;
        pthread_mutex_unlock(&lock);
    }
    return real_close(fd);
}

#define CHANGE(fd, at, len, call) \
    if (!is_ours(fd)) return call; \
    pthread_mutex_lock(&lock); \
    before_write(fd, at, len); \
    ssize_t done = call; \
    int error = errno; \
    pthread_mutex_unlock(&lock); \
    errno = error; \
    return done

ssize_t write(int fd, const void *bytes, size_t len) { CHANGE(fd, -1, len, real_write(fd, bytes, len)); }
ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at) {
    CHANGE(fd, at, len, real_pwrite(fd, bytes, len, at));
}
ssize_t pwrite64(int fd, const void *bytes, size_t len, off_t at) {
    CHANGE(fd, at, len, real_pwrite(fd, bytes, len, at));
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    size_t len = 0;
    for (int n = 0; n < count; n++) len += parts[n].iov_len;
    CHANGE(fd, -1, len, real_writev(fd, parts, count));
}

int ftruncate(int fd, off_t size) {
    if (!is_ours(fd)) return real_ftruncate(fd, size);
    pthread_mutex_lock(&lock);
    keep(fd, size, INT64_MAX);
    int done = real_ftruncate(fd, size);
    pthread_mutex_unlock(&lock);
    return done;
}
int ftruncate64(int fd, off_t size) { return ftruncate(fd, size); }

static int sync_it(int fd, int (*real)(int)) {
    if (fd >= 0 && fd < FDS_MAX && dir_by_fd[fd]) {
        pthread_mutex_lock(&lock);
        names_synced(dir_by_fd[fd]);
        pthread_mutex_unlock(&lock);
        return 0;
    }
    if (!is_ours(fd)) return real(fd);
    pthread_mutex_lock(&lock);
    struct file *file = changed(fd);
    struct stat st;
    if (fstat(fd, &st)) give_up("fstat");
    off_t undone = lseek(file->undo, 0, SEEK_END);
    pthread_mutex_unlock(&lock);
    usleep(sync_us);
    pthread_mutex_lock(&lock);
    head(file, st.st_size);
    /* What was overwritten meanwhile stays unsynced; so does, more than need be, what was before. */
    if (lseek(file->undo, 0, SEEK_END) == undone && real_ftruncate(file->undo, sizeof file->synced))
        give_up("an undo file");
    pthread_mutex_unlock(&lock);
    return 0;
}
int fsync(int fd) { return sync_it(fd, real_fsync); }
int fdatasync(int fd) { return sync_it(fd, real_fdatasync); }

int rename(const char *from, const char *to) {
    if (!within(from) && !within(to)) return real_rename(from, to);
    pthread_mutex_lock(&lock);
    unsigned long saved = save(to);
    int done = real_rename(from, to);
    if (!done) entryf("R\t%lu\t%s\t%s\n", saved, to, from);
    pthread_mutex_unlock(&lock);
    return done;
}

int unlink(const char *path) {
    if (!within(path)) return real_unlink(path);
    pthread_mutex_lock(&lock);
    unsigned long saved = save(path);
    int done = real_unlink(path);
    if (!done) entryf("U\t%lu\t%s\n", saved, path);
    pthread_mutex_unlock(&lock);
    return done;
}

int mkdir(const char *path, mode_t mode) {
    int done = real_mkdir(path, mode);
    if (!done && within(path)) {
        pthread_mutex_lock(&lock);
        entryf("M\t0\t%s\n", path);
        pthread_mutex_unlock(&lock);
    }
    return done;
}

void *mmap(void *where, size_t len, int prot, int flags, int fd, off_t at) {
    if (is_ours(fd) && prot & PROT_WRITE && flags & MAP_SHARED) give_up("a shared writable mapping");
    /* Not through dlsym: an allocator may come here before `begin`. */
    return (void *)syscall(SYS_mmap, where, len, prot, flags, fd, at);
}
void *mmap64(void *where, size_t len, int prot, int flags, int fd, off_t at) {
    return mmap(where, len, prot, flags, fd, at);
}

int link(const char *from, const char *to) {
    int (*real_link)(const char *, const char *) = dlsym(RTLD_NEXT, "link");
    if (within(from) || within(to)) give_up("a hard link");
    return real_link(from, to);
}
