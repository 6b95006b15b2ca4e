// Asks the server that its argument names for /, by HTTP.
//
// Ends with the answer's status less 200, or with 100 and the number of the error.
#include "task.h"

#define TYPES(name) IMPORT("wasi:http/types@0.3.0", name)

// result<response, error-code>, as far as it is read, and result<option<trailers>, error-code>.
typedef struct { uint64_t failed; union { uint32_t response; uint8_t error; } value; uint64_t rest[7]; } result_t;

enum { RETURNED = 2 };

IMPORT("wasi:cli/environment@0.3.0", "get-arguments") void get_arguments(uint32_t list[2]);
TYPES("[constructor]fields") uint32_t fields_new(void);
TYPES("[future-new-1][static]request.new") uint64_t trailers_new(void);
TYPES("[async-lower][future-write-1][static]request.new") uint32_t trailers_write(uint32_t future, const result_t *);
TYPES("[static]request.new") void request_new(uint32_t headers, uint32_t has_contents, uint32_t contents, uint32_t trailers,
                                              uint32_t has_options, uint32_t options, uint32_t made[2]);
TYPES("[method]request.set-scheme") uint32_t set_scheme(uint32_t self, uint32_t given, uint32_t scheme, const char *other,
                                                        uint32_t len);
TYPES("[method]request.set-authority") uint32_t set_authority(uint32_t self, uint32_t given, const char *text, uint32_t len);
TYPES("[method]request.set-path-with-query") uint32_t set_path(uint32_t self, uint32_t given, const char *text, uint32_t len);
TYPES("[method]response.get-status-code") uint32_t status_code(uint32_t self);
IMPORT("wasi:http/client@0.3.0", "[async-lower]send") uint32_t send(uint32_t request, result_t *);

__attribute__((export_name("wasi:cli/run@0.3.0#run"))) uint32_t run(void) {
    uint32_t list[2], made[2];
    get_arguments(list);
    struct { const char *text; uint32_t len; } *server = (void *)list[0];
    ++server;

    uint64_t trailers = trailers_new();
    request_new(fields_new(), 0, 0, (uint32_t)trailers, 0, 0, made);
    uint32_t refused = set_scheme(made[0], 1, 0, 0, 0);
    refused |= set_authority(made[0], 1, server->text, server->len);
    refused |= set_path(made[0], 1, "/", 1);
    if (refused) return 1;
    static result_t none, result;
    trailers_write((uint32_t)(trailers >> 32), &none);
    uint32_t sent = send(made[0], &result), state = sent & 15;
    while (state != RETURNED) state = happened(sent >> 4);
    exit_with_code(result.failed & 255 ? 100u + result.value.error : status_code(result.value.response) - 200);
    __builtin_unreachable();
}
