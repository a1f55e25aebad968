#include "processes/one_pool.hpp"
#include "processes/pool_seen.hpp"

Pool pool_of_plugin() {
    return pool_seen();
}
