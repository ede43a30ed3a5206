#include "hetero/base/thread.h"

#include <pthread.h>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

TEST(StartThreadTest, ARefusedThreadIsAnErrorThatNamesIt) {
  int ran = 0;
  StartThread("the roof", [&] { ++ran; }).value().join();
  EXPECT_EQ(ran, 1);

  pthread_attr_t usual, huge;
  ASSERT_EQ(pthread_getattr_default_np(&usual), 0);
  ASSERT_EQ(pthread_attr_init(&huge), 0);
  ASSERT_EQ(pthread_attr_setstacksize(&huge, size_t{1} << 50), 0);  // more than addresses
  ASSERT_EQ(pthread_setattr_default_np(&huge), 0);
  EXPECT_THAT(StartThread("the roof", [&] { ++ran; }),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("thread of the roof: ")));
  ASSERT_EQ(pthread_setattr_default_np(&usual), 0);
  EXPECT_EQ(ran, 1);
}

}  // namespace
}  // namespace hetero
