#include "hetero/tensor/ops/cpu_target.h"

#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/tensor/ops/gemm/gemm_cpu.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

absl::Status SomeProduct(int64_t side) {
  std::vector<float> a(side * side, 1.0f), b(side * side, 2.0f), c(side * side);
  const absl::Status status = cpu::Gemm<float>(false, false, side, side, side, 1.0f, a.data(), side,
                                               b.data(), side, 0.0f, c.data(), side);
  EXPECT_TRUE(!status.ok() || c[0] == 2.0f * static_cast<float>(side));
  return status;
}

bool HasAvx512() { return ChosenCpuTarget() == CpuTarget::kAvx512; }

// A death test of this style runs in a process that starts anew, in which libraries read the
// environment and the choice of instructions is still open.
class CpuTargetDeathTest : public ::testing::Test {
 protected:
  CpuTargetDeathTest() { ::testing::GTEST_FLAG(death_test_style) = "threadsafe"; }
};

// Ends the process of a death test.
void ExitWith(bool as_expected) { std::_Exit(as_expected ? 0 : 1); }

TEST_F(CpuTargetDeathTest, LimitsKernelsAndProducts) {
  const auto limited = [] {
    if (!LimitCpuTarget("avx2").ok() || !SomeProduct(64).ok()) return false;
    return ChosenCpuTarget() == CpuTarget::kAvx2 &&
           absl::StrContains(CpuDescription(), " with AVX2, kernels with AVX2, 1 thread a rank");
  };
  EXPECT_EXIT(ExitWith(limited()), ::testing::ExitedWithCode(0), "");
}

TEST(CpuTargetTest, RefusesWhatItCannotDo) {
  EXPECT_THAT(LimitCpuTarget("sse2"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("\"sse2\""), HasSubstr("avx2 and avx512"))));
  ASSERT_THAT(SomeProduct(8), IsOk());
  EXPECT_THAT(LimitCpuTarget("avx2"), StatusIs(absl::StatusCode::kFailedPrecondition,
                                               HasSubstr("before the first product")));
}

TEST_F(CpuTargetDeathTest, TheEnvironmentChoosesNoNarrowerInstructions) {
  for (const char* name : {"ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"}) {
    ::setenv(name, "SSE41", 1);
  }
  const char* const expected = HasAvx512() ? " with AVX-512, kernels with AVX-512, 1 thread"
                                           : " with AVX2, kernels with AVX2, 1 thread";
  const auto widest = [&] { return absl::StrContains(CpuDescription(), expected); };
  EXPECT_EXIT(ExitWith(widest()), ::testing::ExitedWithCode(0), "");
}

// Threads of this process, from the kernel.
int NumThreads() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word && word != "Threads:") {
  }
  int count = 0;
  status >> count;
  return count;
}

TEST_F(CpuTargetDeathTest, ARankIsOneThreadWhateverOpenMpIsTold) {
  ::setenv("OMP_NUM_THREADS", "4", 1);
  ::setenv("OMP_DYNAMIC", "false", 1);
  const auto alone = [] {
    const int before = NumThreads();
    int after = 0;
    std::thread([&] {
      EXPECT_THAT(SomeProduct(512), IsOk());
      after = NumThreads() - 1;
    }).join();
    return after == before;
  };
  EXPECT_EXIT(ExitWith(alone()), ::testing::ExitedWithCode(0), "");
}

TEST_F(CpuTargetDeathTest, BindingByOpenMpLeavesEveryProcessor) {
  cpu_set_t all;
  ASSERT_EQ(sched_getaffinity(0, sizeof(all), &all), 0);
  ::setenv("OMP_PROC_BIND", "true", 1);
  const auto unbound = [] {
    LeaveOpenMpPlace();
    cpu_set_t now;
    return sched_getaffinity(0, sizeof(now), &now) == 0 &&
           CPU_COUNT(&now) == std::atoi(std::getenv("NUM_PROCESSORS"));
  };
  // The process that starts anew runs this line too, and is bound.
  ::setenv("NUM_PROCESSORS", std::to_string(CPU_COUNT(&all)).c_str(), /*overwrite=*/0);
  EXPECT_EXIT(ExitWith(unbound()), ::testing::ExitedWithCode(0), "");
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // which reserve terabytes

// Bytes of address space that this process has.
rlim_t AddressSpace() {
  std::ifstream statm("/proc/self/statm");
  rlim_t pages = 0;
  statm >> pages;
  return pages * static_cast<rlim_t>(::sysconf(_SC_PAGESIZE));
}

// The library alone runs into null pointers where it finds no memory for code that it generates.
TEST_F(CpuTargetDeathTest, LittleAddressSpaceIsAnErrorOrNone) {
  for (const rlim_t room : {rlim_t{0}, rlim_t{256} << 10, rlim_t{20} << 20, rlim_t{64} << 20}) {
    for (const bool used_before : {false, true}) {
      const auto ends = [&] {
        constexpr int64_t kSide = 700;
        std::vector<float> a(kSide * kSide, 1.0f), b(kSide * kSide, 2.0f), c(kSide * kSide);
        if (used_before && !SomeProduct(8).ok()) return false;
        const rlim_t limit = AddressSpace() + room;
        const rlimit space{limit, limit};
        if (::setrlimit(RLIMIT_AS, &space) != 0) return false;
        ::alarm(30);
        for (const int64_t n : {int64_t{1}, int64_t{5}, int64_t{64}, kSide}) {
          for (const bool transpose : {false, true}) {
            const absl::Status status =
                cpu::Gemm<float>(transpose, !transpose, kSide, n, kSide, 0.5f, a.data(), kSide,
                                 b.data(), kSide, 0.0f, c.data(), n);
            if (status.ok() ? c[0] != kSide : !absl::IsResourceExhausted(status)) return false;
          }
        }
        return true;
      };
      EXPECT_EXIT(ExitWith(ends()), ::testing::ExitedWithCode(0), "") << room;
    }
  }
}

#endif

}  // namespace
}  // namespace hetero
