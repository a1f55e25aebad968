// A program and a shared object that it loads, both with the library in them. The arguments: the shared
// object, "one" or "two" pools, and who uses the pool first, "program" or "plugin".

#include <dlfcn.h>
#include <string>

#include "processes/ends.hpp"
#include "processes/pool_seen.hpp"

using processes::require;

namespace {

/// The pool that `first` has set up is the other's too.
void require_one(const Pool& first, const Pool& second) {
    require(first.address == second.address, "one address");
    first.set_num_threads(3);
    require(second.num_threads() == 3 && second.all_work(3), "as many threads as the other has set");
    second.set_num_threads(2);
    require(first.num_threads() == 2 && first.all_work(2), "and the other way round");
}

void require_two(const Pool& first, const Pool& second) {
    require(first.address != second.address, "two addresses");
    first.set_num_threads(3);
    second.set_num_threads(2);
    require(first.num_threads() == 3 && first.all_work(3), "threads of its own");
    require(second.num_threads() == 2 && second.all_work(2), "threads of its own, the plugin");
}

}  // namespace

int main(int argc, char** argv) {
    processes::limit_time();
    require(argc == 4, "three arguments");
    void* const plugin = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    require(plugin != nullptr, "the shared object is loaded");
    const auto pool_of = reinterpret_cast<Pool (*)()>(dlsym(plugin, "pool_of_plugin"));
    require(pool_of != nullptr, "it has pool_of_plugin");
    const Pool own = pool_seen(), of_plugin = pool_of();
    const bool plugin_first = argv[3] == std::string("plugin");
    (argv[2] == std::string("one") ? require_one : require_two)(plugin_first ? of_plugin : own,
                                                                plugin_first ? own : of_plugin);
    dlclose(plugin);                            // threads of the pool may run its code
    for (int i = 0; i < 20; ++i) usleep(1000);  // and wake from their sleep in it
    require(own.all_work(own.num_threads()), "the program goes on without the shared object");
    return 0;
}
