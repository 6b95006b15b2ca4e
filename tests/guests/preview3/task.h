// What the programs here share: they have no libc, and call as the component model flattens the calls.
#include <stdint.h>

#define IMPORT(module, name) __attribute__((import_module(module), import_name(name)))
#define ROOT(name) IMPORT("$root", name)
#define BLOCKED 0xffffffffu

IMPORT("wasi:cli/exit@0.3.0", "exit-with-code") void exit_with_code(uint32_t code);
ROOT("[waitable-set-new]") uint32_t waitable_set_new(void);
ROOT("[waitable-set-wait]") uint32_t waitable_set_wait(uint32_t set, uint32_t event[2]);
ROOT("[waitable-set-drop]") void waitable_set_drop(uint32_t set);
ROOT("[waitable-join]") void waitable_join(uint32_t waitable, uint32_t set);

static _Alignas(16) char heap[1 << 16];
static uint32_t heap_used;

__attribute__((export_name("cabi_realloc"))) void *cabi_realloc(void *old, uint32_t old_len, uint32_t align, uint32_t len) {
    (void)old, (void)old_len;
    heap_used = (heap_used + align - 1) / align * align;
    void *given = heap + heap_used;
    heap_used += len;
    if (heap_used > sizeof heap) __builtin_trap();
    return given;
}

// Waits for what happens to one thing next, and returns what that says.
static inline uint32_t happened(uint32_t waitable) {
    uint32_t event[2], set = waitable_set_new();
    waitable_join(waitable, set);
    waitable_set_wait(set, event);
    waitable_join(waitable, 0);
    waitable_set_drop(set);
    if (event[0] != waitable) __builtin_trap();
    return event[1];
}
