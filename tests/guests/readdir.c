// Removes the entries of a directory while listing it, and adds others meanwhile: an entry that stays must be listed
// exactly once, however many come and go. `rm -r` and every build tool rely on it.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { COUNT = 300 };

static void make(int dir, const char *prefix, int number) {
    char name[64];
    snprintf(name, sizeof name, "%s-with-a-rather-long-name-%03d", prefix, number);
    int fd = openat(dir, name, O_WRONLY | O_CREAT, 0644);
    if (fd < 0 || close(fd) != 0) {
        printf("%s: %s\n", name, strerror(errno));
        exit(99);
    }
}

int main(int argc, char **argv) {
    if (argc != 2)
        return 2;
    int top = open(argv[1], O_RDONLY | O_DIRECTORY);
    if (top < 0)
        return 2;
    for (int i = 0; i < COUNT; i++) {
        make(top, "goes", i);
        make(top, "stays", i);
    }
    int deleted = 0, stayed = 0;
    DIR *dir = opendir(argv[1]);
    if (dir == NULL)
        return 2;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (strncmp(entry->d_name, "stays", 5) == 0)
            stayed++;
        if (strncmp(entry->d_name, "goes", 4) == 0 && unlinkat(top, entry->d_name, 0) == 0) {
            make(top, "new", deleted);
            deleted++;
        }
    }
    closedir(dir);
    printf("deleted %d, stayed %d\n", deleted, stayed);
    return deleted == COUNT && stayed == COUNT ? 0 : 1;
}
