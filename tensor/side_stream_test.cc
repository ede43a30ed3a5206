#include "hetero/tensor/side_stream.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/status.h"
#include "hetero/telemetry/call_ledger.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;

// What a stage calls on the side and beside it, all accounted for by `stream`.
absl::StatusOr<std::vector<std::string>> Calls(Device device) {
  Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
  Stream stream(device, workspace);
  stream.ledger().RecordCollectives(true);
  HETERO_ASSIGN_OR_RETURN(SideStream* const side, stream.State<SideStream>());
  const auto call = [](std::string name) {
    return [name = std::move(name)](Stream& queue) {
      queue.ledger().AddCollective(name, "all_gather", 1);
      return absl::OkStatus();
    };
  };
  HETERO_ASSIGN_OR_RETURN(SideStream::Mark before, side->Here());
  HETERO_ASSIGN_OR_RETURN(SideStream::Mark first, side->Run(call("first")));
  HETERO_RETURN_IF_ERROR(call("beside")(stream));
  HETERO_ASSIGN_OR_RETURN(SideStream::Mark second,
                          side->RunAfter(std::move(before), call("second")));
  HETERO_RETURN_IF_ERROR(side->Join(std::move(second), "wait"));
  HETERO_RETURN_IF_ERROR(side->Join(std::move(first), "wait"));
  HETERO_RETURN_IF_ERROR(call("behind")(stream));
  std::vector<std::string> names;
  for (const CollectiveCall& one : stream.ledger().collectives()) names.push_back(one.name);
  return names;
}

TEST(SideStreamTest, TheStreamHasOneListOfCallsInProgramOrder) {
  for (const DeviceKind kind : {DeviceKind::kCpu, DeviceKind::kShapeOnly}) {
    const absl::StatusOr<std::vector<std::string>> names = Calls({kind});
    ASSERT_THAT(names, IsOk());
    EXPECT_THAT(*names, ElementsAre("first", "beside", "second", "behind"));
  }
}

TEST(SideStreamTest, WhatTheWorkRunsIntoIsReturned) {
  Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
  Stream stream(Device{}, workspace);
  const absl::StatusOr<SideStream*> side = stream.State<SideStream>();
  ASSERT_THAT(side, IsOk());
  EXPECT_THAT((*side)->Run([](Stream&) { return absl::AbortedError("rank 1 failed"); }),
              StatusIs(absl::StatusCode::kAborted, "rank 1 failed"));
}

}  // namespace
}  // namespace hetero
