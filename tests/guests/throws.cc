// Throws through ten frames that have something to undo, and catches it: WebAssembly's exceptions.
#include <stdio.h>

// The part of a C++ library that this needs: Debian's for WASI is built without exceptions.
extern "C" void *__cxa_begin_catch(void *thrown) { return thrown; }
extern "C" void __cxa_end_catch() {}

static const unsigned CPP_TAG = 0;
static int undone;

struct Undo {
    ~Undo() { ++undone; }
};

[[gnu::noinline]] static void down(int frames) {
    Undo undo;
    if (frames == 1) __builtin_wasm_throw(CPP_TAG, &undone);
    down(frames - 1);
}

int main() {
    try {
        down(10);
    } catch (...) {
        printf("caught after %d frames\n", undone);
        return 0;
    }
    return 1;
}
