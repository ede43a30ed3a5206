#include "hetero/data/text/byte_tokenizer.h"

#include <string>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero::data {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

TEST(ByteTokenizerTest, EveryByteRoundTripsAndTheEndEndsIt) {
  const ByteTokenizer tokenizer;
  std::string text;
  for (int byte = 0; byte < 256; ++byte) text.push_back(static_cast<char>(byte));
  std::vector<int32_t> ids;
  ASSERT_THAT(tokenizer.Append(text, ids), IsOk());
  ids.push_back(ByteTokenizer::kEnd);
  ids.push_back(7);
  EXPECT_THAT(tokenizer.Decode(ids), IsOkAndHolds(text));
}

TEST(ByteTokenizerTest, ImageTokensAreNoText) {
  EXPECT_THAT(ByteTokenizer().Decode(std::vector<int32_t>{65, ByteTokenizer::kImage}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("id 511 at position 1")));
}

}  // namespace
}  // namespace hetero::data
