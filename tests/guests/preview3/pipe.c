// Pipes a file into itself, which has no end: the host moves the bytes, and no code of the program runs meanwhile.
//
// Ends with 1 if the file cannot be opened, 2 if the end was reached, 3 if it failed, as on a full disk.
#include <stdint.h>

#define TYPES(name) __attribute__((import_module("wasi:filesystem/types@0.3.0"), import_name(name)))
#define METHOD(name) TYPES("[method]descriptor." name)
#define ROOT(name) __attribute__((import_module("$root"), import_name(name)))

typedef struct { uint32_t failed, value, rest[3]; } result_t;

enum { CREATE = 1, READ = 1, WRITE = 2 };

METHOD("open-at") void open_at(uint32_t self, uint32_t path_flags, const char *path, uint32_t len, uint32_t open_flags,
                               uint32_t flags, result_t *);
METHOD("set-size") void set_size(uint32_t self, uint64_t size, result_t *);
METHOD("read-via-stream") void read_via_stream(uint32_t self, uint64_t offset, uint32_t ends[2]);
METHOD("append-via-stream") uint32_t append_via_stream(uint32_t self, uint32_t stream);
TYPES("[async-lower][future-read-1][method]descriptor.append-via-stream")
uint32_t append_future_read(uint32_t future, result_t *);

__attribute__((import_module("wasi:filesystem/preopens@0.3.0"), import_name("get-directories")))
void get_directories(uint32_t list[2]);
__attribute__((import_module("wasi:cli/exit@0.3.0"), import_name("exit-with-code"))) void exit_with_code(uint32_t code);
ROOT("[waitable-set-new]") uint32_t waitable_set_new(void);
ROOT("[waitable-set-wait]") uint32_t waitable_set_wait(uint32_t set, uint32_t event[2]);
ROOT("[waitable-join]") void waitable_join(uint32_t waitable, uint32_t set);

static _Alignas(16) char heap[1 << 12];
static uint32_t heap_used;

__attribute__((export_name("cabi_realloc"))) void *cabi_realloc(void *old, uint32_t old_len, uint32_t align, uint32_t len) {
    (void)old, (void)old_len;
    heap_used = (heap_used + align - 1) / align * align;
    void *given = heap + heap_used;
    heap_used += len;
    if (heap_used > sizeof heap) __builtin_trap();
    return given;
}

__attribute__((export_name("wasi:cli/run@0.3.0#run"))) uint32_t run(void) {
    uint32_t list[2], ends[2], event[2];
    result_t result;
    get_directories(list);
    open_at(*(uint32_t *)list[0], 0, "loop", 4, CREATE, READ | WRITE, &result);
    if (result.failed & 255) exit_with_code(1);
    uint32_t file = result.value;
    set_size(file, 1 << 16, &result);
    read_via_stream(file, 0, ends);
    uint32_t future = append_via_stream(file, ends[0]);
    if (append_future_read(future, &result) == 0xffffffff) {
        uint32_t set = waitable_set_new();
        waitable_join(future, set);
        waitable_set_wait(set, event);
    }
    exit_with_code(result.failed & 255 ? 3 : 2);
    __builtin_unreachable();
}
