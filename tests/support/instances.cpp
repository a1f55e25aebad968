#define RING_ATTENTION_TESTS_INSTANCE template
#include "instances.hpp"
