// Writes blocks of 1,000 bytes to a file until it has as many as asked for, or cannot go on.
// Usage: fill PATH COUNT.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc != 3)
        return 2;
    char block[1000];
    memset(block, 'x', sizeof block);
    long long total = 0;
    int fd = open(argv[1], O_CREAT | O_WRONLY, 0644);
    if (fd < 0) {
        printf("open: %s\n", strerror(errno));
        return 1;
    }
    for (int left = atoi(argv[2]); left > 0; left--) {
        ssize_t count = write(fd, block, sizeof block);
        if (count < 0) {
            printf("%lld bytes, then: %s\n", total, strerror(errno));
            return 1;
        }
        total += count;
    }
    printf("%lld bytes\n", total);
    return 0;
}
