// ALSA's library, looked for when the program starts: without it there is no microphone and all else works. build.rs makes
// the list of functions and, for each, a jump to where its slot points.
#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>

extern const char *const undertone_asound_names[];
extern void *undertone_asound_slots[];

// What a function answers that is not there.
static long missing(void) { return -ENOSYS; }

__attribute__((constructor)) static void find(void) {
    void *const library = dlopen("libasound.so.2", RTLD_NOW | RTLD_LOCAL);
    for (size_t i = 0; undertone_asound_names[i]; i++) {
        void *const function = library ? dlsym(library, undertone_asound_names[i]) : NULL;
        undertone_asound_slots[i] = function ? function : (void *)missing;
    }
}
