#include <filesystem>
#include <fstream>
#include <sched.h>
#include <string>

#include <doctest/doctest.h>

#include <ring_attention/core/available_cpus.hpp>
#include <ring_attention/core/parallel.hpp>

#include "support/temporary_folder.hpp"

namespace ra = ring_attention;

namespace {

/// A file system with the files that tell of control groups.
class Root {
  public:
    explicit Root(const std::string& groups_of_process) { write("proc/self/cgroup", groups_of_process); }

    Root& write(const std::string& path, const std::string& content) {
        const std::filesystem::path file = folder_.path() / path;
        std::filesystem::create_directories(file.parent_path());
        std::ofstream(file) << content;
        return *this;
    }
    int cpus() const { return ra::detail::cpus_of_all_groups(folder_.path().string()); }

  private:
    TemporaryFolder folder_;
};

constexpr int no_limit = 0;

}  // namespace

TEST_CASE("available cpus: the quota of a control group of version 2, rounded up") {
    CHECK(Root("0::/job\n").write("sys/fs/cgroup/job/cpu.max", "200000 100000\n").cpus() == 2);
    CHECK(Root("0::/job\n").write("sys/fs/cgroup/job/cpu.max", "150000 100000\n").cpus() == 2);
    CHECK(Root("0::/job\n").write("sys/fs/cgroup/job/cpu.max", "1000 100000\n").cpus() == 1);
    CHECK(Root("0::/\n").write("sys/fs/cgroup/cpu.max", "300000 100000\n").cpus() == 3);
    CHECK(Root("0::/job\n").write("sys/fs/cgroup/job/cpu.max", "max 100000\n").cpus() == no_limit);
    CHECK(Root("12:pids:/a\n1:name=systemd:/a\n0::/job\n")
              .write("sys/fs/cgroup/unified/job/cpu.max", "400000 100000\n")
              .cpus() == 4);
}

TEST_CASE("available cpus: the quota of a control group of version 1, rounded up") {
    const std::string groups = "5:pids:/pods/a\n4:cpu,cpuacct:/pods/a\n";
    CHECK(Root(groups)
              .write("sys/fs/cgroup/cpu,cpuacct/pods/a/cpu.cfs_quota_us", "250000\n")
              .write("sys/fs/cgroup/cpu,cpuacct/pods/a/cpu.cfs_period_us", "100000\n")
              .cpus() == 3);
    CHECK(Root(groups)
              .write("sys/fs/cgroup/cpu/pods/a/cpu.cfs_quota_us", "50000\n")
              .write("sys/fs/cgroup/cpu/pods/a/cpu.cfs_period_us", "10000\n")
              .cpus() == 5);
    CHECK(Root(groups)
              .write("sys/fs/cgroup/cpu/pods/a/cpu.cfs_quota_us", "-1\n")
              .write("sys/fs/cgroup/cpu/pods/a/cpu.cfs_period_us", "100000\n")
              .cpus() == no_limit);
    // Another controller's group says nothing.
    CHECK(Root("3:cpuset:/b\n").write("sys/fs/cgroup/cpuset/b/cpu.cfs_quota_us", "50000\n").cpus() ==
          no_limit);
}

TEST_CASE("available cpus: the least of a group and of all that it is in") {
    Root root("0::/pods/a/b\n");
    root.write("sys/fs/cgroup/pods/cpu.max", "300000 100000\n")
        .write("sys/fs/cgroup/pods/a/cpu.max", "max 100000\n");
    CHECK(root.cpus() == 3);
    root.write("sys/fs/cgroup/pods/a/b/cpu.max", "500000 100000\n");
    CHECK(root.cpus() == 3);
    root.write("sys/fs/cgroup/pods/a/b/cpu.max", "200000 100000\n");
    CHECK(root.cpus() == 2);
    // In a container the group's name is that of the host, and its folder is the root.
    CHECK(Root("4:cpu,cpuacct:/docker/1f2e\n")
              .write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "100000\n")
              .write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n")
              .cpus() == 1);
}

TEST_CASE("available cpus: files that say nothing set no limit") {
    CHECK(Root("").cpus() == no_limit);
    CHECK(Root("nonsense\n0:\n::\n0::\n0::no/slash\n").cpus() == no_limit);
    for (const char* content :
         {"", "max", "x 100000", "200000", "200000 0", "0 100000", "-5 100000", "nan 100000"})
        CHECK(Root("0::/job\n").write("sys/fs/cgroup/job/cpu.max", content).cpus() == no_limit);
    CHECK(Root("0::/job\n").write("sys/fs/cgroup/job/cpu.max", "1e300 1\n").cpus() > 0);
    CHECK(ra::detail::cpus_of_all_groups("/no/such/folder") == no_limit);
}

TEST_CASE("available cpus: what the affinity mask leaves, and no more than the quota") {
    cpu_set_t before;
    REQUIRE(sched_getaffinity(0, sizeof before, &before) == 0);
    const TemporaryFolder empty;
    const std::string nothing = empty.path().string();
    CHECK(ra::detail::available_cpus(nothing) == CPU_COUNT(&before));
    cpu_set_t one;
    CPU_ZERO(&one);
    for (std::size_t cpu = 0; CPU_COUNT(&one) == 0; ++cpu)
        if (CPU_ISSET(cpu, &before)) CPU_SET(cpu, &one);
    REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0);
    CHECK(ra::detail::available_cpus(nothing) == 1);
    sched_setaffinity(0, sizeof before, &before);
    CHECK(ra::detail::available_cpus(nothing) == CPU_COUNT(&before));
    CHECK(ra::detail::available_cpus() >= 1);
}
