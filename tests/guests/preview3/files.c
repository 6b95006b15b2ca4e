// What a program of preview 3 does with files, without a libc: the calls as the component model flattens them, blocking.
//
// Ends with the number of the first step that went wrong, or 0.
#include "files.h"

// result<descriptor-stat, error-code>, as far as it is read.
typedef struct { uint64_t failed; uint32_t type, other[3]; uint64_t links, size, times[12]; } stat_t;

enum { NO_ENTRY = 19, NOT_PERMITTED = 30, DIRECTORY = 2, REGULAR = 5, SYMLINK = 4 };

METHOD("create-directory-at") void create_directory_at(uint32_t self, const char *path, uint32_t len, result_t *);
METHOD("stat-at") void stat_at(uint32_t self, uint32_t path_flags, const char *path, uint32_t len, stat_t *);
METHOD("rename-at") void rename_at(uint32_t self, const char *old, uint32_t old_len, uint32_t new_dir, const char *new,
                                   uint32_t new_len, result_t *);
METHOD("symlink-at") void symlink_at(uint32_t self, const char *to, uint32_t to_len, const char *path, uint32_t len,
                                     result_t *);
METHOD("unlink-file-at") void unlink_file_at(uint32_t self, const char *path, uint32_t len, result_t *);
METHOD("write-via-stream") uint32_t write_via_stream(uint32_t self, uint32_t stream, uint64_t offset);

TYPES("[stream-new-0][method]descriptor.write-via-stream") uint64_t write_stream_new(void);
TYPES("[async-lower][stream-write-0][method]descriptor.write-via-stream")
uint32_t write_stream_write(uint32_t stream, const void *from, uint32_t len);
TYPES("[stream-drop-writable-0][method]descriptor.write-via-stream") void write_stream_drop(uint32_t stream);
TYPES("[async-lower][future-read-1][method]descriptor.write-via-stream") uint32_t write_future_read(uint32_t future, result_t *);
TYPES("[future-drop-readable-1][method]descriptor.write-via-stream") void write_future_drop(uint32_t future);
TYPES("[async-lower][stream-read-0][method]descriptor.read-via-stream")
uint32_t read_stream_read(uint32_t stream, void *to, uint32_t len);
TYPES("[stream-drop-readable-0][method]descriptor.read-via-stream") void read_stream_drop(uint32_t stream);
TYPES("[async-lower][future-read-1][method]descriptor.read-via-stream") uint32_t read_future_read(uint32_t future, result_t *);
TYPES("[future-drop-readable-1][method]descriptor.read-via-stream") void read_future_drop(uint32_t future);
TYPES("[resource-drop]descriptor") void descriptor_drop(uint32_t self);

static uint32_t step;

static void must(int held) {
    ++step;
    if (!held) {
        exit_with_code(step);
        __builtin_unreachable();
    }
}

static uint32_t length(const char *text) {
    uint32_t len = 0;
    while (text[len]) ++len;
    return len;
}
#define TEXT(text) text, length(text)

static uint32_t opened(uint32_t dir, const char *path, uint32_t open_flags, uint32_t flags) {
    result_t result;
    open_at(dir, 0, TEXT(path), open_flags, flags, &result);
    must((result.failed & 255) == 0);
    return result.value;
}

// How many were copied, after waiting for the other end if need be. The low bits say whether that has gone.
static uint32_t count_of(uint32_t end, uint32_t status) {
    return (status == BLOCKED ? happened(end) : status) >> 4;
}

static void written(uint32_t file, const char *text, uint64_t offset) {
    uint64_t ends = write_stream_new();
    uint32_t readable = (uint32_t)ends, writable = (uint32_t)(ends >> 32);
    uint32_t future = write_via_stream(file, readable, offset);
    for (uint32_t done = 0, len = length(text); done < len;) {
        uint32_t count = count_of(writable, write_stream_write(writable, text + done, len - done));
        must(count > 0);
        done += count;
    }
    write_stream_drop(writable);
    result_t result;
    count_of(future, write_future_read(future, &result));
    must((result.failed & 255) == 0);
    write_future_drop(future);
}

static void holds(uint32_t file, uint64_t offset, const char *text) {
    uint32_t ends[2], done = 0, len = length(text);
    char seen[64];
    read_via_stream(file, offset, ends);
    for (uint32_t count = 1; count > 0 && done < sizeof seen; done += count)
        count = count_of(ends[0], read_stream_read(ends[0], seen + done, sizeof seen - done));
    read_stream_drop(ends[0]);
    result_t result;
    count_of(ends[1], read_future_read(ends[1], &result));
    must((result.failed & 255) == 0);
    read_future_drop(ends[1]);
    must(done == len);
    for (uint32_t at = 0; at < len; ++at)
        if (seen[at] != text[at]) must(0);
}

static void has_length(uint32_t file, uint32_t len) {
    static char seen[1 << 16];
    uint32_t ends[2], done = 0;
    read_via_stream(file, 0, ends);
    for (uint32_t count = 1; count > 0; done += count)
        count = count_of(ends[0], read_stream_read(ends[0], seen, sizeof seen));
    read_stream_drop(ends[0]);
    result_t result;
    count_of(ends[1], read_future_read(ends[1], &result));
    must((result.failed & 255) == 0);
    read_future_drop(ends[1]);
    must(done == len);
}

static void is(uint32_t dir, const char *path, uint32_t type, uint64_t size) {
    stat_t stat;
    stat_at(dir, 0, TEXT(path), &stat);
    must((stat.failed & 255) == 0);
    must((stat.type & 255) == type);
    must(type != REGULAR || stat.size == size);
}

static void fails(const result_t *result, uint32_t error) {
    must((result->failed & 255) == 1);
    must((result->value & 255) == error);
}

__attribute__((export_name("wasi:cli/run@0.3.0#run"))) uint32_t run(void) {
    uint32_t list[2];
    result_t result;
    get_directories(list);
    must(list[1] == 1);
    // A descriptor, and its name.
    uint32_t top = *(uint32_t *)(uintptr_t)list[0];

    uint32_t motd = opened(top, "etc/motd", 0, READ);
    holds(motd, 0, "welcome\n");
    holds(motd, 3, "come\n");
    descriptor_drop(motd);

    create_directory_at(top, TEXT("new"), &result);
    must((result.failed & 255) == 0);
    uint32_t dir = opened(top, "new", OPEN_DIRECTORY, READ | MUTATE);
    uint32_t file = opened(dir, "file", CREATE | EXCLUSIVE, READ | WRITE);
    written(file, "written by preview 3\n", 0);
    written(file, "W", 0);
    holds(file, 0, "Written by preview 3\n");
    set_size(file, 7, &result);
    must((result.failed & 255) == 0);
    holds(file, 0, "Written");
    is(dir, "file", REGULAR, 7);
    // More than a host may want to read in a row.
    set_size(file, 3000000, &result);
    must((result.failed & 255) == 0);
    has_length(file, 3000000);
    set_size(file, 7, &result);
    must((result.failed & 255) == 0);
    descriptor_drop(file);

    rename_at(dir, TEXT("file"), top, TEXT("moved"), &result);
    must((result.failed & 255) == 0);
    is(top, "moved", REGULAR, 7);
    open_at(dir, 0, TEXT("file"), 0, READ, &result);
    fails(&result, NO_ENTRY);
    symlink_at(top, TEXT("moved"), TEXT("link"), &result);
    must((result.failed & 255) == 0);
    is(top, "link", SYMLINK, 0);
    is(top, "new", DIRECTORY, 0);
    unlink_file_at(top, TEXT("share/doc"), &result);
    must((result.failed & 255) == 0);
    open_at(dir, 0, TEXT("../etc/motd"), 0, READ, &result);
    fails(&result, NOT_PERMITTED);
    descriptor_drop(dir);
    descriptor_drop(top);
    return 0;
}
