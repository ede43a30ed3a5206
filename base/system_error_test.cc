#include "hetero/base/system_error.h"

#include <cerrno>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

using ::absl_testing::StatusIs;
using ::testing::StartsWith;

TEST(SystemErrorTest, WhatADiskHasNoRoomForIsOutOfResources) {
  for (const int error : {ENOSPC, EDQUOT, EFBIG, EIO, EMFILE, ENFILE, ENOMEM}) {
    EXPECT_THAT(SystemError(error, "cannot write a"),
                StatusIs(absl::StatusCode::kResourceExhausted, StartsWith("cannot write a: ")));
  }
}

TEST(SystemErrorTest, WhatTheUserNamedWronglyIsNot) {
  EXPECT_THAT(SystemError(ENOENT, "a"), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(SystemError(EACCES, "a"), StatusIs(absl::StatusCode::kPermissionDenied));
  EXPECT_THAT(SystemError(ELOOP, "a"), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(SystemError(EROFS, "a"), StatusIs(absl::StatusCode::kPermissionDenied));
}

}  // namespace
}  // namespace hetero
