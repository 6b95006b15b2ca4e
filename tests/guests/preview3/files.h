// The calls on files that the programs here share.
#include "task.h"

#define TYPES(name) IMPORT("wasi:filesystem/types@0.3.0", name)
#define METHOD(name) TYPES("[method]descriptor." name)

// result<_, error-code>, and the same with a descriptor, as far as they are read.
typedef struct { uint32_t failed, value, rest[3]; } result_t;
_Static_assert(sizeof(result_t) == 20, "as the component model lays it out");

enum { CREATE = 1, OPEN_DIRECTORY = 2, EXCLUSIVE = 4, TRUNCATE = 8, READ = 1, WRITE = 2, MUTATE = 32 };

IMPORT("wasi:filesystem/preopens@0.3.0", "get-directories") void get_directories(uint32_t list[2]);
METHOD("open-at") void open_at(uint32_t self, uint32_t path_flags, const char *path, uint32_t len, uint32_t open_flags,
                               uint32_t flags, result_t *);
METHOD("set-size") void set_size(uint32_t self, uint64_t size, result_t *);
METHOD("read-via-stream") void read_via_stream(uint32_t self, uint64_t offset, uint32_t ends[2]);
