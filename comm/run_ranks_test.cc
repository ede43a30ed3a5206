#include "hetero/comm/run_ranks.h"

#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/cord.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/status.h"
#include "hetero/tensor/stream.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;

TEST(RunRanksTest, AnExceptionIsAnInternalErrorOfItsRankAndStopsTheOthers) {
  const absl::Status status =
      RunRanks(3, [](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
        if (rank == GlobalRank(1)) throw std::runtime_error("vector grew too large");
        Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
        Stream stream(Device{}, workspace);
        auto world = factory.Create({"control", {GlobalRank(0), GlobalRank(1), GlobalRank(2)}});
        std::vector<float> value(1);
        const TensorView view(std::span<float>(value), {1});
        return (*world)->AllReduce(view, view, ReduceOp::kSum, stream, "x");
      });
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInternal,
                               "rank 1: uncaught exception: vector grew too large"));
}

TEST(RunRanksTest, TheFirstFailureWinsAndKeepsWhatItsRankSaidAboutIt) {
  const absl::Status status =
      RunRanks(2, [](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
        Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
        Stream stream(Device{}, workspace);
        auto world = factory.Create({"control", {GlobalRank(0), GlobalRank(1)}});
        std::vector<float> value(2);
        const TensorView view(std::span<float>(value), {2});
        if (rank == GlobalRank(0)) {
          return Annotate((*world)->Broadcast(view, GroupRank(0), stream, "x"), "step 5");
        }
        const absl::Status failed = (*world)->Broadcast(view, GroupRank(1), stream, "x");
        return Annotate(failed, "step 5");
      });
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument,
                               testing::MatchesRegex("rank [01]: step 5: .*from member 0.*from "
                                                     "member 1.*")));
}

TEST(RunRanksTest, RunsEveryRankOnce) {
  std::vector<int> calls(5);
  EXPECT_THAT(RunRanks(5,
                       [&](GlobalRank rank, CommunicatorFactory&) {
                         ++calls[static_cast<size_t>(rank.value())];
                         return absl::OkStatus();
                       }),
              IsOk());
  EXPECT_EQ(calls, std::vector<int>(5, 1));
}

}  // namespace
}  // namespace hetero
