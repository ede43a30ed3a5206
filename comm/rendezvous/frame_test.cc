#include "hetero/comm/rendezvous/frame.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/cord.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero::internal {
namespace {

using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::Optional;

TEST(FrameTest, FramesComeThroughByteByByte) {
  const std::vector<Frame> sent = {
      {.kind = FrameKind::kPut, .texts = {"key", std::string(70000, 'v')}},
      {.kind = FrameKind::kHello, .number = -3},
      {.kind = FrameKind::kValue, .number = int64_t{1} << 40, .texts = {"", std::string(1, '\0')}}};
  std::string bytes;
  for (const Frame& frame : sent) bytes += Encode(frame);
  FrameParser parser;
  std::vector<Frame> received;
  for (const char byte : bytes) {
    parser.Append({&byte, 1});
    absl::StatusOr<std::optional<Frame>> frame = parser.Next();
    ASSERT_TRUE(frame.ok());
    if (frame->has_value()) received.push_back(**frame);
  }
  EXPECT_EQ(received, sent);
}

TEST(FrameTest, AStrangersBytesAreAnErrorAndAskForNoMemory) {
  for (const std::string& bytes :
       {std::string("GET / HTTP/1.1\r\n\r\n"), std::string("\x02\0\0\0\x01\x02", 6),
        std::string("\x0d\0\0\0\x63\0\0\0\0\0\0\0\0\0\0\0\0", 17),
        std::string("\x0d\0\0\0\x01\0\0\0\0\0\0\0\0\x09\0\0\0", 17)}) {
    FrameParser parser;
    parser.Append(bytes);
    EXPECT_THAT(parser.Next(), StatusIs(absl::StatusCode::kInvalidArgument)) << bytes;
  }
}

TEST(FrameTest, StatusesKeepCodeMessageAndPayloads) {
  absl::Status status = absl::DataLossError("rank 2: shard 3 is cut short");
  status.SetPayload("hetero/exit_code", absl::Cord("24"));
  EXPECT_EQ(DecodeStatus(EncodeStatus(status)), status);
  EXPECT_THAT(DecodeStatus({"0", ""}), StatusIs(absl::StatusCode::kInternal));
  EXPECT_THAT(DecodeStatus({}), StatusIs(absl::StatusCode::kInternal));
}

}  // namespace
}  // namespace hetero::internal
