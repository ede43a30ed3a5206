#include "hetero/base/exceptions.h"

#include <new>
#include <stdexcept>
#include <system_error>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

TEST(CatchExceptionsTest, WantOfMemoryIsNoBug) {
  EXPECT_THAT(CatchExceptions([]() -> absl::Status { throw std::bad_alloc(); }),
              StatusIs(absl::StatusCode::kResourceExhausted, "out of memory"));
  EXPECT_THAT(CatchExceptions([]() -> absl::Status {
                throw std::system_error(EAGAIN, std::generic_category(), "a thread");
              }),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("a thread")));
}

TEST(CatchExceptionsTest, OtherExceptionsAreBugsWithTheirText) {
  EXPECT_THAT(CatchExceptions([]() -> absl::Status { throw std::runtime_error("no roof"); }),
              StatusIs(absl::StatusCode::kInternal, "uncaught exception: no roof"));
  EXPECT_THAT(CatchExceptions([]() -> absl::Status { throw 3; }),
              StatusIs(absl::StatusCode::kInternal));
  EXPECT_THAT(CatchExceptions([] { return absl::DataLossError("torn"); }),
              StatusIs(absl::StatusCode::kDataLoss, "torn"));
}

}  // namespace
}  // namespace hetero
