// Two tensor-parallel ranks hold halves of a weight, with the bits that one rank would have.

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/status.h"
#include "hetero/params/parameter_store.h"
#include "hetero/tensor/memory.h"

namespace hetero {
namespace {

absl::Status HalvesMakeAWhole() {
  HETERO_ASSIGN_OR_RETURN(
      const ParameterTable table,
      ParameterTable::Make({{.name = "mlp.linear_fc1.weight",
                             .shape = {4, 8},
                             .init = Init::Normal(0.02),
                             .dims = {{ShardAxis::kTp, {}}, {}}}}));  // rows over tp
  Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
  Stream stream(Device{}, workspace);
  const auto store = [&](const ShardSpec& shard,
                         MemoryLedger& memory) -> absl::StatusOr<std::unique_ptr<ParameterStore>> {
    HETERO_ASSIGN_OR_RETURN(std::unique_ptr<ParameterStore> made,
                            ParameterStore::Create(table, shard, Device{}, memory));
    HETERO_RETURN_IF_ERROR(made->Initialize(/*seed=*/1234, stream));
    return made;
  };
  MemoryLedger memory;
  HETERO_ASSIGN_OR_RETURN(const auto whole, store({}, memory));
  HETERO_ASSIGN_OR_RETURN(const Parameter* const weight, whole->Find("mlp.linear_fc1.weight"));
  for (int64_t rank : {0, 1}) {
    HETERO_ASSIGN_OR_RETURN(const auto half, store({.tp = {.rank = rank, .size = 2}}, memory));
    HETERO_ASSIGN_OR_RETURN(const Parameter* const part, half->Find("mlp.linear_fc1.weight"));
    EXPECT_THAT(part->value.values<float>(),
                testing::ElementsAreArray(weight->value.Rows(2 * rank, 2).values<float>()));
  }
  return absl::OkStatus();
}

TEST(Example, TwoRanksHoldHalvesOfTheSameBits) { EXPECT_EQ(HalvesMakeAWhole(), absl::OkStatus()); }

}  // namespace
}  // namespace hetero
