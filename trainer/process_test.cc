// How a process ends that is refused memory.

#include "hetero/trainer/process.h"

#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <new>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace hetero {
namespace {

TEST(ProcessDeathTest, WantOfMemoryThatNobodyCatchesIsExitSevenWithAMessage) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto throw_in_thread = [](auto exception) {
    if (!PrepareProcess().ok()) std::_Exit(1);
    std::thread([&] { throw exception; }).join();
  };
  EXPECT_EXIT(throw_in_thread(std::bad_alloc()), ::testing::ExitedWithCode(7),
              "error: out of memory");
  EXPECT_EXIT(throw_in_thread(std::system_error(EAGAIN, std::generic_category())),
              ::testing::ExitedWithCode(7), "error: out of memory");
  EXPECT_EXIT(throw_in_thread(std::logic_error("a bug")), ::testing::KilledBySignal(SIGABRT), "");
}

// Takes all memory there is within a limit, then some more in small pieces.
void TakeAllThenALittle() {
  if (!PrepareProcess().ok()) std::_Exit(1);
  const auto after = std::make_unique<char[]>(4096);  // so that the reserve is not handed back
  int64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  const auto bytes = static_cast<rlim_t>(pages * sysconf(_SC_PAGESIZE)) + (rlim_t{16} << 20);
  const rlimit memory = {.rlim_cur = bytes, .rlim_max = bytes};
  if (setrlimit(RLIMIT_AS, &memory) != 0) std::_Exit(2);
  constexpr size_t kMany = 4096;
  std::vector<std::unique_ptr<char[]>> taken;
  taken.reserve(2 * kMany);
  try {
    for (size_t i = 0; i < kMany; ++i) taken.push_back(std::make_unique<char[]>(64 << 10));
    std::_Exit(3);
  } catch (const std::bad_alloc&) {
  }
  constexpr int kSmall = 256;
  for (int i = 0; i < kSmall; ++i) taken.push_back(std::make_unique<char[]>(4096));
  std::_Exit(0);
}

TEST(ProcessDeathTest, AReserveServesWhoTellsOfWantOfMemory) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer maps memory of its own and aborts without it";
#endif
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(TakeAllThenALittle(), ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace hetero
