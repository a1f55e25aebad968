// Runs two units that were compiled with different flags. FIRST and SECOND are the names of their functions,
// FIRST_LEVEL and SECOND_LEVEL what they need of the processor.

#include <cstdio>
#include <cstring>

extern "C" double FIRST();
extern "C" double SECOND();

namespace {

bool runs(const char* level) {
    __builtin_cpu_init();
    if (std::strcmp(level, "v4") == 0)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vl");
    if (std::strcmp(level, "v3") == 0) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    return std::strcmp(level, "none") == 0 || __builtin_cpu_supports("sse4.2");
}

}  // namespace

int main() {
    if (!runs(FIRST_LEVEL) || !runs(SECOND_LEVEL)) {
        std::printf("skipped: this processor has not the instructions of %s and %s\n", FIRST_LEVEL,
                    SECOND_LEVEL);
        return 77;
    }
    const double differences[] = {FIRST(), SECOND(), FIRST()};
    for (const double difference : differences) {
        std::printf("%g from the reference\n", difference);
        if (!(difference < 1e-5)) return 1;
    }
}
