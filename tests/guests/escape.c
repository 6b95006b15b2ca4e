// Tries to reach what lies outside of its only preopened directory, by every route that paths offer.
//
// Prints one line an attempt; an attempt that succeeds makes the exit code 1. Usage: escape TOP, where TOP is the
// guest's name of a preopened directory whose parent holds a file `secret`.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int escapes;

static void attempt(int dir, const char *path) {
    int fd = openat(dir, path, O_RDONLY);
    if (fd >= 0) {
        escapes++;
        printf("ESCAPED: %s\n", path);
        close(fd);
    } else {
        printf("%s: %s\n", path, strerror(errno));
    }
}

int main(int argc, char **argv) {
    if (argc != 2)
        return 2;
    int top = open(argv[1], O_RDONLY | O_DIRECTORY);
    if (top < 0) {
        printf("%s: %s\n", argv[1], strerror(errno));
        return 2;
    }
    mkdirat(top, "inner", 0755);
    symlinkat("../secret", top, "up");
    symlinkat("..", top, "parent");
    symlinkat("../../secret", top, "inner/up");
    symlinkat("inner/..", top, "round");
    attempt(top, "../secret");
    attempt(top, "inner/../../secret");
    attempt(top, "./../secret");
    attempt(top, "inner//..//..//secret");
    attempt(top, "up");
    attempt(top, "up/");
    attempt(top, "parent/secret");
    attempt(top, "parent/");
    attempt(top, "inner/up");
    attempt(top, "round/../secret");
    // A directory that is moved while it is the start of a walk must not make `..` lead elsewhere.
    int inner = openat(top, "inner", O_RDONLY | O_DIRECTORY);
    renameat(top, "inner", top, "moved");
    attempt(inner, "../secret");
    attempt(inner, "../../secret");
    return escapes == 0 ? 0 : 1;
}
