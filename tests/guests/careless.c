// Writes a file, and does what it is told if that fails.
// Usage: careless report|crash|hang|lie
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc != 2)
        return 2;
    int fd = open("/out", O_CREAT | O_WRONLY, 0644);
    if (fd >= 0 && write(fd, "data", 4) == 4)
        return 0;
    if (strcmp(argv[1], "crash") == 0)
        __builtin_trap();
    for (volatile int forever = strcmp(argv[1], "hang") == 0; forever;)
        ;
    return strcmp(argv[1], "lie") != 0;
}
