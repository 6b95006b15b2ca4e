// Saves settings in one of three ways: only the last survives a power cut at any time.
// Usage: save in-place|renamed|synced TEXT
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PATH "/etc/app.conf"
#define NEW "/etc/app.conf.new"

static int fail(const char *what) {
    perror(what);
    return 1;
}

static int put(const char *path, const char *text, int is_synced) {
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0644);
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        return fail(path);
    // Without this the new name may reach the disk before what it names.
    if (is_synced && fsync(fd) != 0)
        return fail(path);
    return close(fd) == 0 ? 0 : fail(path);
}

int main(int argc, char **argv) {
    if (argc != 3)
        return 2;
    if (strcmp(argv[1], "in-place") == 0) {
        if (put(PATH, argv[2], 0) != 0)
            return 1;
    } else {
        int is_synced = strcmp(argv[1], "synced") == 0;
        if (put(NEW, argv[2], is_synced) != 0)
            return 1;
        if (rename(NEW, PATH) != 0)
            return fail("rename");
        // And without this the old name may come back after we said that all is done.
        int dir = is_synced ? open("/etc", O_RDONLY | O_DIRECTORY) : -1;
        if (is_synced && (dir < 0 || fsync(dir) != 0))
            return fail("/etc");
    }
    puts("saved");
    return 0;
}
