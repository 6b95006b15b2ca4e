// What differs from run to run unless somebody takes care: times, random bytes, the time of a file, a long sleep.
// Usage: moments DIR.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void show(const char *what, struct timespec time) {
    printf("%s %lld.%09ld\n", what, (long long)time.tv_sec, time.tv_nsec);
}

int main(int argc, char **argv) {
    if (argc != 2)
        return 2;
    struct timespec now, later;
    clock_gettime(CLOCK_REALTIME, &now);
    show("now", now);

    unsigned char bytes[16];
    if (getentropy(bytes, sizeof bytes))
        return 3;
    printf("random ");
    for (size_t at = 0; at < sizeof bytes; at++)
        printf("%02x", bytes[at]);
    printf("\n");

    char path[256];
    snprintf(path, sizeof path, "%s/made", argv[1]);
    int fd = open(path, O_CREAT | O_WRONLY, 0644);
    struct stat stat;
    if (fd < 0 || fstat(fd, &stat))
        return 4;
    show("made", stat.st_mtim);
    printf("ino %llu\n", (unsigned long long)stat.st_ino);
    close(fd);

    clock_gettime(CLOCK_MONOTONIC, &now);
    struct timespec hour = {3600, 0};
    if (nanosleep(&hour, NULL))
        return 5;
    clock_gettime(CLOCK_MONOTONIC, &later);
    printf("slept for an hour: %s\n", later.tv_sec - now.tv_sec >= 3600 ? "yes" : "no");
    return 0;
}
