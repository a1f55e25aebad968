#pragma once

#include <cstddef>
#include <cxxabi.h>
#include <memory>
#include <new>
#include <utility>

#include <ring_attention/core/abi.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// An object that a thread keeps, one for each tag. It is made when it is first asked for, of these
/// arguments. Other than a thread_local one it may be asked for at any time: where a destructor runs a model
/// after the thread's objects were destroyed (a static object's, at the end of the program), it is made
/// again.
template <class Object, auto tag = 0>
Object& of_thread(const auto&... arguments) {
    alignas(Object) static thread_local std::byte place[sizeof(Object)];
    static thread_local Object* object = nullptr;
    if (object == nullptr) [[unlikely]] {
        object = ::new (place) Object(arguments...);
        const auto destroy = [](void* own) {
            Object* const ended = std::exchange(*static_cast<Object**>(own), nullptr);
            std::destroy_at(ended);
        };
        // What makes thread_local objects, which a thread that is ending makes no more. The shared object
        // that holds the last argument stays loaded.
        abi::__cxa_thread_atexit(destroy, &object, reinterpret_cast<void*>(+destroy));
    }
    return *object;
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
