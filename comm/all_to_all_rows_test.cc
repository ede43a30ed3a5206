#include "hetero/comm/all_to_all_rows.h"

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/status.h"
#include "hetero/comm/run_ranks.h"
#include "hetero/tensor/arena.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;

// Rank s has s + d rows for rank d, tells them from below in memory, and leaves a gap behind each.
TEST(AllToAllRowsTest, RangesArriveWhereTheyBelongAndComeBackWhereTheyWere) {
  constexpr int64_t kRanks = 3;
  const absl::Status status =
      RunRanks(kRanks, [](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
        HETERO_ASSIGN_OR_RETURN(
            const std::unique_ptr<Communicator> peers,
            factory.Create({"model", {GlobalRank(0), GlobalRank(1), GlobalRank(2)}}));
        Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
        Stream stream({}, workspace);
        const int64_t me = rank.value();
        std::vector<IndexRange> sends(kRanks), receives(kRanks);
        int64_t own = 0, arrived = 0;
        for (int64_t g = kRanks; g-- > 0;) {
          sends[g] = {.first = own, .count = me + g};
          own += me + g + 1;
        }
        for (int64_t g = 0; g < kRanks; ++g) {
          receives[g] = {.first = arrived, .count = me + g};
          arrived += me + g;
        }
        std::vector<double> rows(own * 2, -1), there(arrived * 2, -7), back(own * 2, -1);
        for (int64_t g = 0; g < kRanks; ++g) {
          for (int64_t i = 0; i < 2 * sends[g].count; ++i) {
            rows[2 * sends[g].first + i] = static_cast<double>(100 * me + 10 * g + i);
          }
        }
        const TensorView rows_RC(rows.data(), DType::kF64, {own, 2}),
            there_RC(there.data(), DType::kF64, {arrived, 2}),
            back_RC(back.data(), DType::kF64, {own, 2});
        HETERO_RETURN_IF_ERROR(
            AllToAllRows(*peers, rows_RC, sends, there_RC, receives, stream, "out"));
        for (int64_t g = 0; g < kRanks; ++g) {
          for (int64_t i = 0; i < 2 * receives[g].count; ++i) {
            EXPECT_EQ(there[2 * receives[g].first + i], 100 * g + 10 * me + i);
          }
        }
        HETERO_RETURN_IF_ERROR(
            AllToAllRows(*peers, there_RC, receives, back_RC, sends, stream, "back"));
        EXPECT_EQ(back, rows);
        sends.pop_back();
        EXPECT_THAT(AllToAllRows(*peers, rows_RC, sends, there_RC, receives, stream, "out"),
                    StatusIs(absl::StatusCode::kInvalidArgument));
        return absl::OkStatus();
      });
  EXPECT_THAT(status, IsOk());
}

}  // namespace
}  // namespace hetero
