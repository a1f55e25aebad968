#pragma once

#include <dlfcn.h>

// Part of what the process has one of (thread_pool.hpp): no name or type depends on a flag.

namespace ring_attention {
namespace [[gnu::visibility("default")]] process_v1 {

// Where there is no dynamic loader, as in a static program, they are null.
[[gnu::weakref("dladdr")]] static int weak_dladdr(const void*, Dl_info*);
[[gnu::weakref("dlopen")]] static void* weak_dlopen(const char*, int);

/// Keeps the shared object that holds `code` loaded, whoever closes it.
inline void keep_loaded(void* code) {
    Dl_info object;
    if (weak_dladdr != nullptr && weak_dlopen != nullptr && weak_dladdr(code, &object) != 0)
        weak_dlopen(object.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
}

}  // namespace gnu::visibility("default")]]process_v1
}  // namespace ring_attention
