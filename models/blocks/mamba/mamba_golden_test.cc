// The block against transformers' NemotronH, whose numbers testdata/generate.py wrote.

#include <algorithm>
#include <memory>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/matchers.h"
#include "hetero/models/blocks/mamba/mamba.h"
#include "hetero/models/testing/golden_file.h"
#include "hetero/models/testing/gradient_check.h"
#include "hetero/params/table.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

constexpr char kPath[] = "models/blocks/mamba/testdata/nemotron_h_block.f32";

TEST(MambaGoldenTest, ForwardAndGradientsAreThoseOfNemotronH) {
  const MambaConfig config = {.hidden_size = 16,
                              .num_heads = 4,
                              .head_dim = 4,
                              .num_groups = 2,
                              .state_size = 4,
                              .chunk_size = 4};
  MemoryLedger memory;
  const auto store =
      ParameterStore::Create(ParameterTable::Make(MambaBlock::Parameters(config, "l.")).value(), {},
                             {}, memory)
          .value();
  const MambaBlock block = MambaBlock::Create(config, "l.", *store, nullptr).value();
  GoldenFile golden(kPath);
  golden.ReadValues(store->parameters());
  std::vector<float> hidden = golden.Next(22 * 16);
  std::vector<float> d_hidden = golden.Next(22 * 16);
  const ErrorSpec spec{.relative_to_max = 64 * Epsilon<float>()};
  TestContext context;
  MambaBlock::Saved saved;
  const absl::StatusOr<TensorView> out =
      block.Forward(*context, TensorView(hidden.data(), DType::kF32, {22, 16}),
                    {.num_rows = 2, .row_length = 11}, saved);
  ASSERT_THAT(out, IsOk());
  EXPECT_THAT(out->values<float>(), IsCloseTo(golden.Next(22 * 16), spec));
  ASSERT_THAT(block.Backward(*context, saved, TensorView(d_hidden.data(), DType::kF32, {22, 16})),
              IsOk());
  EXPECT_THAT(d_hidden, IsCloseTo(golden.Next(22 * 16), spec));
  golden.ExpectGradients(store->parameters(), spec);
  EXPECT_TRUE(golden.AtEnd());
}

}  // namespace
}  // namespace hetero
