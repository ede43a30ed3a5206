#include "hetero/base/out_of_memory.h"

#include <sys/resource.h>

#include <cerrno>
#include <new>
#include <system_error>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/exceptions.h"
#include "hetero/base/system_error.h"

namespace hetero {
namespace {

using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// Lives with the soft limit `bytes` on `resource`, high enough for the test itself.
class SoftLimit {
 public:
  SoftLimit(decltype(RLIMIT_AS) resource, rlim_t bytes) : resource_(resource) {
    EXPECT_EQ(getrlimit(resource, &previous_), 0);
    const rlimit lower = {.rlim_cur = bytes, .rlim_max = previous_.rlim_max};
    EXPECT_EQ(setrlimit(resource, &lower), 0);
  }
  ~SoftLimit() { EXPECT_EQ(setrlimit(resource_, &previous_), 0); }

 private:
  decltype(RLIMIT_AS) resource_;
  rlimit previous_;
};

constexpr rlim_t kBytes = rlim_t{123'456'789} << 20;
constexpr char kAddressSpace[] =
    "the limit on address space is 126419751936 KiB (ulimit -v), raise it";

TEST(OutOfMemoryTest, ThereIsNothingToSayWithoutALimit) {
  const SoftLimit space(RLIMIT_AS, RLIM_INFINITY);
  const SoftLimit data(RLIMIT_DATA, RLIM_INFINITY);
  EXPECT_THAT(DescribeMemoryLimits(), IsEmpty());
  EXPECT_THAT(OutOfMemoryError("no room"),
              StatusIs(absl::StatusCode::kResourceExhausted, "no room"));
}

TEST(OutOfMemoryTest, EveryWantOfMemoryNamesTheLimitAsTheShellShowsIt) {
  const SoftLimit space(RLIMIT_AS, kBytes);
  EXPECT_THAT(OutOfMemoryError("no room"),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       AllOf(HasSubstr("no room; "), HasSubstr(kAddressSpace))));
  EXPECT_THAT(CatchExceptions([]() -> absl::Status { throw std::bad_alloc(); }),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       AllOf(HasSubstr("out of memory; "), HasSubstr(kAddressSpace))));
  EXPECT_THAT(CatchExceptions([]() -> absl::Status {
                throw std::system_error(ENOMEM, std::system_category(), "a map");
              }),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr(kAddressSpace)));
  EXPECT_THAT(SystemError(ENOMEM, "cannot map x"),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       AllOf(HasSubstr("cannot map x: "), HasSubstr(kAddressSpace))));
  EXPECT_THAT(SystemError(ENOSPC, "cannot write x"),
              StatusIs(absl::StatusCode::kResourceExhausted, Not(HasSubstr("ulimit"))));
}

TEST(OutOfMemoryTest, SoIsTheOneOnData) {
  const SoftLimit data(RLIMIT_DATA, kBytes);
  EXPECT_THAT(DescribeMemoryLimits(),
              HasSubstr("the limit on data is 126419751936 KiB (ulimit -d)"));
}

}  // namespace
}  // namespace hetero
