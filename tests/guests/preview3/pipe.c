// Pipes a file into itself, which has no end: the host moves the bytes, and no code of the program runs meanwhile.
//
// Ends with 1 if the file cannot be opened, 2 if the end was reached, 3 if it failed, as on a full disk.
#include "files.h"

METHOD("append-via-stream") uint32_t append_via_stream(uint32_t self, uint32_t stream);
TYPES("[async-lower][future-read-1][method]descriptor.append-via-stream")
uint32_t append_future_read(uint32_t future, result_t *);

__attribute__((export_name("wasi:cli/run@0.3.0#run"))) uint32_t run(void) {
    uint32_t list[2], ends[2];
    result_t result;
    get_directories(list);
    open_at(*(uint32_t *)list[0], 0, "loop", 4, CREATE, READ | WRITE, &result);
    if (result.failed & 255) exit_with_code(1);
    uint32_t file = result.value;
    set_size(file, 1 << 16, &result);
    read_via_stream(file, 0, ends);
    uint32_t future = append_via_stream(file, ends[0]);
    if (append_future_read(future, &result) == BLOCKED) happened(future);
    exit_with_code(result.failed & 255 ? 3 : 2);
    __builtin_unreachable();
}
