#include "hetero/trainer/memory_limit.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

class MemoryLimitTest : public ::testing::Test {
 protected:
  MemoryLimitTest() {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }

  void Write(std::string_view name, std::string_view text) {
    const std::filesystem::path path = folder_ / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }

  MemoryLimit Limit() {
    return HostMemoryLimit({.membership = folder_ / "cgroup", .mount = folder_ / "mount"});
  }

  const std::filesystem::path folder_ = std::filesystem::path(::testing::TempDir()) / "limits";
  const int64_t machine_ = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
};

TEST_F(MemoryLimitTest, IsTheMachinesWhereNothingElseHolds) {
  EXPECT_EQ(Limit().bytes, machine_);
  EXPECT_EQ(Limit().what, "the machine has");
  Write("cgroup", "0::/\nnothing\n");
  Write("mount/memory.max", "max\n");
  EXPECT_EQ(Limit().bytes, machine_);
  Write("mount/memory.max", "9223372036854771712\n");
  EXPECT_EQ(Limit().bytes, machine_);
}

TEST_F(MemoryLimitTest, IsTheLeastOfAllGroupsAbove) {
  Write("cgroup", "0::/pod/container\n");
  Write("mount/pod/container/memory.max", "max\n");
  Write("mount/pod/memory.max", "67108864\n");
  Write("mount/memory.max", "134217728\n");
  EXPECT_EQ(Limit().bytes, 67108864);
  EXPECT_EQ(Limit().what, (folder_ / "mount/pod/memory.max").native() + " allows");
}

// A container sees its own group as the root; its path may be the host's.
TEST_F(MemoryLimitTest, IsTheContainersWhateverItsPathIsCalled) {
  Write("mount/memory.max", "67108864\n");
  for (const std::string_view path : {"/", "/system.slice/docker-1.scope", "/../../elsewhere"}) {
    Write("cgroup", "0::" + std::string(path) + "\n");
    EXPECT_EQ(Limit().bytes, 67108864) << path;
  }
}

TEST_F(MemoryLimitTest, KnowsTheFirstVersion) {
  Write("cgroup", "5:cpu,cpuacct:/a\n4:hugetlb,memory:/docker/1:2\n");
  Write("mount/memory/docker/1:2/memory.limit_in_bytes", "33554432\n");
  Write("mount/memory/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(Limit().bytes, 33554432);
}

}  // namespace
}  // namespace hetero
