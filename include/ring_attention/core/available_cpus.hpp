#pragma once

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#ifdef __linux__
#include <sched.h>
#endif

#include <ring_attention/core/abi.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// The cores that this thread may run on.
inline int cpus_of_affinity() {
#ifdef __linux__
    for (std::size_t sets = 1; sets <= 1024;
         sets *= 2) {  // the kernel says whether it knows more cores than that
        std::vector<cpu_set_t> mask(sets);
        const std::size_t bytes = sets * sizeof(cpu_set_t);
        if (sched_getaffinity(0, bytes, mask.data()) == 0) return CPU_COUNT_S(bytes, mask.data());
        if (errno != EINVAL) break;
    }
#endif
    return int(std::thread::hardware_concurrency());
}

/// The cores' time that a control group's files give it, rounded up: "200000 100000" is 2. 0 where they set
/// no limit, or are not there.
inline int cpus_of_quota(const std::string& quota_file, const std::string& period_file) {
    double quota = 0, period = 0;
    std::ifstream file(quota_file);
    if (!(file >> quota)) return 0;  // "max"
    if (!(file >> period) && !(std::ifstream(period_file) >> period)) return 0;
    if (!(quota > 0) || !(period > 0)) return 0;  // -1: no limit
    return int(std::min(std::ceil(quota / period), 1e6));
}

/// The least of a control group and of all that it is in; 0: no limit.
inline int cpus_of_group(const std::string& mounted_at, std::string group) {
    int least = 0;
    while (true) {
        const std::string folder = mounted_at + group + "/";
        for (const int cpus : {cpus_of_quota(folder + "cpu.max", ""),
                               cpus_of_quota(folder + "cpu.cfs_quota_us", folder + "cpu.cfs_period_us")})
            if (cpus > 0) least = least > 0 ? std::min(least, cpus) : cpus;
        if (group.empty()) return least;
        group.resize(std::min(group.rfind('/'), group.size() - 1));
    }
}

/// The cores' time that the control groups of this process give it; 0: no limit. `root` stands before every
/// path.
inline int cpus_of_all_groups(const std::string& root) {
    int least = 0;
    std::ifstream groups(root + "/proc/self/cgroup");
    for (std::string line;
         std::getline(groups, line);) {  // "4:cpu,cpuacct:/group", or "0::/group" of version 2
        const std::size_t first = line.find(':'), second = line.find(':', first + 1);
        if (first == std::string::npos || second == std::string::npos) continue;
        const std::string controllers = line.substr(first + 1, second - first - 1);
        if (!controllers.empty() && ("," + controllers + ",").find(",cpu,") == std::string::npos) continue;
        for (const std::string& name : {controllers, std::string(controllers.empty() ? "unified" : "cpu")}) {
            const int cpus = cpus_of_group(root + "/sys/fs/cgroup" + (name.empty() ? "" : "/" + name),
                                           line.substr(second + 1));
            if (cpus > 0) least = least > 0 ? std::min(least, cpus) : cpus;
        }
    }
    return least;
}

/// How many threads can compute at one time: the cores that this thread may run on, or fewer where a control
/// group (a container) has a limit. At least 1.
inline int available_cpus(const std::string& root = "") {
    const int cpus = cpus_of_affinity(), limit = cpus_of_all_groups(root);
    return std::max(1, limit > 0 ? std::min(cpus, limit) : cpus);
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
