#include <signal.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/status.h"
#include "hetero/comm/testing/process_ranks.h"
#include "hetero/tensor/stream.h"

namespace hetero {
namespace {

using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;

struct Rank {
  Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
  Stream stream{Device{}, workspace};
};

TensorView View(std::vector<float>& values) {
  return TensorView(std::span(values), {static_cast<int64_t>(values.size())});
}

Group World(int64_t size) {
  Group group;
  for (int64_t i = 0; i < size; ++i) group.emplace_back(i);
  return group;
}

// Both sides of what travels in an envelope.
class ProcessesFailureTest : public testing::TestWithParam<int64_t> {
 protected:
  std::vector<float> Values() const { return std::vector<float>(static_cast<size_t>(GetParam())); }
};

INSTANTIATE_TEST_SUITE_P(Sizes, ProcessesFailureTest, testing::Values(3, 5000));

TEST_P(ProcessesFailureTest, OneFailureEndsAllWithItsOwnWords) {
  const absl::Time start = absl::Now();
  EXPECT_THAT(
      RunProcessRanks(3,
                      [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
                        Rank self;
                        HETERO_ASSIGN_OR_RETURN(auto comm, factory.Create({"model", World(3)}));
                        if (rank == GlobalRank(1)) {
                          return absl::DataLossError("shard 3 is cut short");
                        }
                        std::vector<float> values = Values();
                        return comm->AllReduce(View(values), View(values), ReduceOp::kSum,
                                               self.stream, "x");
                      }),
      Each(StatusIs(absl::StatusCode::kDataLoss, "rank 1: shard 3 is cut short")));
  EXPECT_LT(absl::Now() - start, absl::Seconds(20));
}

// What SIGPIPE does once ranks have met, where it did `handler` before.
sighandler_t BrokenPipesAfter(sighandler_t handler) {
  const sighandler_t before = signal(SIGPIPE, handler);
  EXPECT_THAT(RunProcessRanks(1, [](GlobalRank, CommunicatorFactory&) { return absl::OkStatus(); }),
              Each(absl_testing::IsOk()));
  return signal(SIGPIPE, before);
}

TEST(ProcessesTest, WritingToARankThatIsGoneEndsNoProcess) {
  EXPECT_EQ(BrokenPipesAfter(SIG_DFL), SIG_IGN);
  const sighandler_t own = [](int) {};
  EXPECT_EQ(BrokenPipesAfter(own), own);
}

TEST_P(ProcessesFailureTest, AStuckRankIsNamedToThoseWhoWaitThroughOthers) {
  const absl::Duration timeout = absl::Seconds(1);
  EXPECT_THAT(
      RunProcessRanks(
          3,
          [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
            Rank self;
            std::vector<float> values = Values();
            if (rank.value() < 2) {
              HETERO_ASSIGN_OR_RETURN(auto lower,
                                      factory.Create({"lower", {GlobalRank(0), GlobalRank(1)}}));
              if (rank == GlobalRank(0)) {
                return lower->AllReduce(View(values), View(values), ReduceOp::kSum, self.stream,
                                        "x");
              }
            }
            HETERO_ASSIGN_OR_RETURN(auto upper,
                                    factory.Create({"upper", {GlobalRank(1), GlobalRank(2)}}));
            if (rank == GlobalRank(1)) {
              return upper->AllReduce(View(values), View(values), ReduceOp::kSum, self.stream, "y");
            }
            while (upper->HealthCheck().ok()) absl::SleepFor(absl::Milliseconds(10));
            return absl::OkStatus();
          },
          timeout),
      Each(StatusIs(absl::StatusCode::kDeadlineExceeded,
                    AllOf(HasSubstr("rank 2 lags: "),
                          HasSubstr("rank 0 waits in 'x' on processes[0,1] lower for rank 1"),
                          HasSubstr("rank 1 waits in 'y' on processes[1,2] upper for rank 2")))));
}

TEST_P(ProcessesFailureTest, SwappedCollectivesNameBothOfOneCommunicator) {
  EXPECT_THAT(
      RunProcessRanks(2,
                      [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
                        Rank self;
                        HETERO_ASSIGN_OR_RETURN(auto comm, factory.Create({"model", World(2)}));
                        std::vector<float> values = Values();
                        const bool swap = rank == GlobalRank(1);
                        for (const bool first : {true, false}) {
                          HETERO_RETURN_IF_ERROR(comm->AllReduce(View(values), View(values),
                                                                 ReduceOp::kSum, self.stream,
                                                                 first != swap ? "x" : "y"));
                        }
                        return absl::OkStatus();
                      }),
      Each(StatusIs(absl::StatusCode::kInvalidArgument,
                    AllOf(HasSubstr("members called different things"), HasSubstr("all_reduce 'x'"),
                          HasSubstr("all_reduce 'y'")))));
}

// The root of their tree compares what all call.
TEST_P(ProcessesFailureTest, OneOfManyThatCallsSomethingElseIsNamed) {
  for (
      const absl::Status& result :
      RunProcessRanks(12, [&](GlobalRank rank, CommunicatorFactory&factory) -> absl::Status {
        Rank self;
        HETERO_ASSIGN_OR_RETURN(auto comm, factory.Create({"model", World(12)}, CollectivesOnly()));
        std::vector<float> values = Values();
        return comm->AllReduce(View(values), View(values), ReduceOp::kSum, self.stream,
                               rank == GlobalRank(9) ? "other" : "x");
      })) {
    EXPECT_THAT(result, StatusIs(absl::StatusCode::kInvalidArgument,
                                 AllOf(HasSubstr("members called different things: rank 0 "
                                                 "all_reduce 'x'"),
                                       HasSubstr("rank 9 all_reduce 'other'"))));
  }
}

TEST_P(ProcessesFailureTest, DifferentSizesAreAnErrorAndNothingIsWritten) {
  EXPECT_THAT(
      RunProcessRanks(2,
                      [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
                        Rank self;
                        HETERO_ASSIGN_OR_RETURN(auto comm, factory.Create({"model", World(2)}));
                        std::vector<float> values = Values();
                        if (rank == GlobalRank(1)) values.resize(values.size() + 2000);
                        return comm->AllReduce(View(values), View(values), ReduceOp::kSum,
                                               self.stream, "x");
                      }),
      Each(StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(" f32 (sum)"))));
}

TEST_P(ProcessesFailureTest, TheTwoEndsOfAMessageMustAgree) {
  EXPECT_THAT(
      RunProcessRanks(2,
                      [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
                        Rank self;
                        HETERO_ASSIGN_OR_RETURN(auto comm, factory.Create({"bridge", World(2)}));
                        std::vector<float> values = Values();
                        std::vector<SendRequest> sends;
                        std::vector<ReceiveRequest> receives;
                        if (rank == GlobalRank(0)) {
                          sends.push_back({GroupRank(1), View(values)});
                        } else {
                          values.resize(values.size() + 1);
                          receives.push_back({GroupRank(0), View(values)});
                        }
                        HETERO_ASSIGN_OR_RETURN(
                            auto handle, comm->Exchange(sends, receives, self.stream, "rows"));
                        return handle->Wait();
                      }),
      Each(StatusIs(
          absl::StatusCode::kInvalidArgument,
          AllOf(HasSubstr("the two ends of a message differ"), HasSubstr("in exchange 'rows'")))));
}

TEST_P(ProcessesFailureTest, AMessageThatIsNeverSentEndsTheWaitWithItsName) {
  EXPECT_THAT(
      RunProcessRanks(
          2,
          [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
            Rank self;
            HETERO_ASSIGN_OR_RETURN(auto comm, factory.Create({"bridge", World(2)}));
            if (rank == GlobalRank(0)) return absl::OkStatus();
            std::vector<float> values = Values();
            const ReceiveRequest receive = {GroupRank(0), View(values)};
            HETERO_ASSIGN_OR_RETURN(auto handle,
                                    comm->Exchange({}, {&receive, 1}, self.stream, "rows"));
            return handle->Wait();
          },
          absl::Seconds(1)),
      Each(StatusIs(absl::StatusCode::kDeadlineExceeded,
                    HasSubstr("rank 1 waits in 'rows' on processes[0,1] bridge for rank 0"))));
}

}  // namespace
}  // namespace hetero
