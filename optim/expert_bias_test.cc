#include "hetero/optim/expert_bias.h"

#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/matchers.h"
#include "hetero/base/status.h"
#include "hetero/comm/run_ranks.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

TEST(ExpertBiasTest, BiasesMoveByTheLoadOfAllRanksAndOnlyWhenApplied) {
  const auto run = [](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
    StreamWithWorkspace stream;
    const bool first = rank == GlobalRank(0);
    HETERO_ASSIGN_OR_RETURN(auto comm,
                            factory.Create({"gradient", {GlobalRank(0), GlobalRank(1)}}));
    HostTensor<float> bias({4}, std::vector<float>(4));
    HostTensor<float> other_bias({2}, {0.5f, 0.5f});
    const std::vector<int64_t> own =
        first ? std::vector<int64_t>{5, 0, 4, 1} : std::vector<int64_t>{1, 2, 0, 3};  // 6, 2, 4, 4
    HostTensor<int64_t> counts({4}, own);
    HostTensor<int64_t> other_counts({2}, {first ? 1 : 2, 3});
    ExpertBias update("language", 0.001,
                      {{bias.view(), counts.view()}, {other_bias.view(), other_counts.view()}},
                      comm.get());

    HETERO_RETURN_IF_ERROR(update.Finish(/*applied=*/false, *stream));
    EXPECT_THAT(bias.values(), testing::Each(0));
    EXPECT_THAT(counts.values(), testing::Each(0));

    counts.values() = own;
    other_counts.values() = {first ? 1 : 2, 3};
    HETERO_RETURN_IF_ERROR(update.Finish(/*applied=*/true, *stream));
    EXPECT_THAT(bias.values(), IsCloseTo(std::vector<double>{-0.001, 0.001, 0, 0},
                                         {.relative = Epsilon<float>()}));
    EXPECT_THAT(other_bias.values(),
                IsCloseTo(std::vector<double>{0.501, 0.499}, {.relative = Epsilon<float>()}));
    EXPECT_THAT(counts.values(), testing::Each(0));
    EXPECT_THAT(other_counts.values(), testing::Each(0));
    return absl::OkStatus();
  };
  EXPECT_THAT(RunRanks(2, run), IsOk());
}

}  // namespace
}  // namespace hetero
