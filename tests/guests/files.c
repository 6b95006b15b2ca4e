// What a program does with files, one group of calls a function, and one line of output for each thing seen.
//
// The lines hold no times, inode numbers or listing orders, so that two hosts can be compared byte by byte.
// Usage: files TOP CODE. TOP is an existing directory with `etc/motd`; CODE is the exit code.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char top[256];

// A path below TOP; two of them may be in use at once.
static const char *at(const char *relative) {
    static char paths[2][512];
    static int turn;
    turn ^= 1;
    snprintf(paths[turn], sizeof paths[turn], "%s/%s", top, relative);
    return paths[turn];
}

static void say(const char *what, long long result) {
    if (result < 0)
        printf("%-34s %s\n", what, strerror(errno));
    else
        printf("%-34s %lld\n", what, result);
}

static void must(int held, const char *what) {
    if (!held) {
        printf("FAILED: %s: %s\n", what, strerror(errno));
        exit(99);
    }
}

static void put(const char *relative, const char *text) {
    FILE *file = fopen(at(relative), "w");
    must(file != NULL, relative);
    must(fputs(text, file) >= 0 && fclose(file) == 0, relative);
}

static void show(const char *relative) {
    FILE *file = fopen(at(relative), "r");
    if (file == NULL) {
        printf("%s: %s\n", relative, strerror(errno));
        return;
    }
    char text[256];
    size_t len = fread(text, 1, sizeof text - 1, file);
    text[len] = 0;
    fclose(file);
    printf("%s: %zu bytes: %s\n", relative, len, text);
}

static int by_text(const void *a, const void *b) { return strcmp(a, b); }

static void list(const char *relative) {
    static char names[4096][64];
    DIR *dir = opendir(at(relative));
    if (dir == NULL) {
        printf("list %s: %s\n", relative, strerror(errno));
        return;
    }
    size_t count = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL && count < 4096; count++)
        snprintf(names[count], sizeof names[count], "%s%s", entry->d_name,
                 entry->d_type == DT_DIR ? "/" : entry->d_type == DT_LNK ? "@" : "");
    closedir(dir);
    qsort(names, count, sizeof names[0], by_text);
    printf("list %s:", relative);
    for (size_t i = 0; i < count; i++)
        printf(" %s", names[i]);
    printf("\n");
}

static void lower_file_is_read_and_changed(void) {
    show("etc/motd");
    FILE *file = fopen(at("etc/motd"), "a");
    must(file != NULL && fputs("and a line more\n", file) >= 0 && fclose(file) == 0, "append to etc/motd");
    show("etc/motd");
    put("etc/motd", "replaced\n");
    show("etc/motd");
    list("etc");
}

static void seeks_and_holes(void) {
    int fd = open(at("holes"), O_RDWR | O_CREAT | O_EXCL, 0644);
    must(fd >= 0, "create holes");
    say("open with O_EXCL again", open(at("holes"), O_RDWR | O_CREAT | O_EXCL, 0644));
    say("write 5", write(fd, "hello", 5));
    say("seek far behind the end", lseek(fd, 100000, SEEK_SET));
    say("write 1 there", write(fd, "!", 1));
    say("size by seek", lseek(fd, 0, SEEK_END));
    char byte = 1;
    say("pread in the hole", pread(fd, &byte, 1, 50000));
    printf("the hole holds %d\n", byte);
    say("seek before the start", lseek(fd, -1, SEEK_SET));
    say("position is kept", lseek(fd, 0, SEEK_CUR));
    say("pwrite 3 at 2", pwrite(fd, "LLO", 3, 2));
    char start[6] = {0};
    say("pread 5 at 0", pread(fd, start, 5, 0));
    printf("start: %s\n", start);
    say("read at the end", read(fd, start, 5));
    say("truncate to 3", ftruncate(fd, 3));
    say("position after truncate", lseek(fd, 0, SEEK_CUR));
    say("grow to 10", ftruncate(fd, 10));
    struct stat stat;
    must(fstat(fd, &stat) == 0, "fstat");
    printf("size %lld regular %d\n", (long long)stat.st_size, S_ISREG(stat.st_mode));
    say("close", close(fd));
    say("close again", close(fd));
}

static void appends(void) {
    int one = open(at("log"), O_WRONLY | O_CREAT | O_APPEND, 0644);
    int two = open(at("log"), O_WRONLY | O_APPEND);
    must(one >= 0 && two >= 0, "open log twice");
    for (int i = 0; i < 3; i++) {
        must(write(one, "one\n", 4) == 4, "append one");
        must(write(two, "two\n", 4) == 4, "append two");
    }
    lseek(one, 0, SEEK_SET);
    say("append after a seek", write(one, "end\n", 4));
    close(one);
    close(two);
    show("log");
    FILE *file = fopen(at("log"), "r+");
    must(file != NULL, "log r+");
    fputs("ONE", file);
    fseek(file, -4, SEEK_END);
    fputs("END", file);
    fclose(file);
    show("log");
}

static void renames(void) {
    put("a", "a\n");
    put("b", "b\n");
    must(mkdir(at("d"), 0755) == 0 && mkdir(at("full"), 0755) == 0, "mkdir");
    put("full/file", "x");
    say("rename file over file", rename(at("a"), at("b")));
    show("a");
    show("b");
    say("rename missing", rename(at("a"), at("c")));
    say("rename file over dir", rename(at("b"), at("d")));
    say("rename dir over file", rename(at("d"), at("b")));
    say("rename dir over full dir", rename(at("d"), at("full")));
    say("rename dir over empty dir", rename(at("full"), at("d")));
    list("d");
    say("rename dir into itself", rename(at("d"), at("d/inner")));
    say("rename a dir of the image", rename(at("share"), at("moved")));
    show("share/doc");
    show("moved/doc");
    say("and back", rename(at("moved"), at("share")));
    int fd = open(at("b"), O_RDONLY);
    put("c", "newer\n");
    say("rename over an open file", rename(at("c"), at("b")));
    char text[8] = {0};
    say("which is still read", read(fd, text, sizeof text));
    printf("as: %s", text);
    close(fd);
    show("b");
}

static void removals(void) {
    say("rmdir full", rmdir(at("d")));
    say("unlink a dir", unlink(at("d")));
    say("rmdir a file", rmdir(at("b")));
    say("unlink missing", unlink(at("nothing")));
    say("unlink d/file", unlink(at("d/file")));
    say("rmdir d", rmdir(at("d")));
    say("unlink a file of the image", unlink(at("share/doc")));
    show("share/doc");
    list("share");
    int fd = open(at("b"), O_RDWR);
    say("unlink an open file", unlink(at("b")));
    say("write to it", write(fd, "kept", 4));
    char text[8] = {0};
    say("read from it", pread(fd, text, 4, 0));
    printf("as: %s\n", text);
    close(fd);
    say("open it again", open(at("b"), O_RDONLY));
}

static void links(void) {
    say("symlink", symlink("etc/motd", at("link")));
    char target[64] = {0};
    say("readlink", readlink(at("link"), target, sizeof target));
    printf("target: %s\n", target);
    show("link");
    struct stat stat;
    must(lstat(at("link"), &stat) == 0, "lstat");
    printf("link is a link %d\n", S_ISLNK(stat.st_mode));
    say("symlink over it", symlink("x", at("link")));
    say("dangling", symlink("nowhere", at("dangling")));
    show("dangling");
    say("open through itself", symlink("self", at("self")) == 0 ? open(at("self"), O_RDONLY) : -2);
    say("hard link", link(at("etc/motd"), at("hard")));
    put("hard", "through the second name\n");
    show("etc/motd");
    must(lstat(at("hard"), &stat) == 0, "lstat hard");
    printf("links %d\n", (int)stat.st_nlink);
    say("trailing slash on a file", open(at("hard/"), O_RDONLY));
    say("below a file", open(at("hard/x"), O_RDONLY));
    list(".");
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: files TOP CODE\n");
        return 2;
    }
    snprintf(top, sizeof top, "%s", argv[1]);
    list(".");
    lower_file_is_read_and_changed();
    seeks_and_holes();
    appends();
    renames();
    removals();
    links();
    return atoi(argv[2]);
}
