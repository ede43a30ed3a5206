#ifndef HETERO_MODELS_NEMOTRON_HYBRID_MICROBATCH_H_
#define HETERO_MODELS_NEMOTRON_HYBRID_MICROBATCH_H_

// Microbatches of the models of hybrid_harness.h, for tests.

#include <cstdint>
#include <limits>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/models/nemotron/hybrid_harness.h"
#include "hetero/models/testing/gradient_check.h"
#include "hetero/models/testing/token_batch.h"

namespace hetero::hybrid_microbatch {

inline constexpr int32_t kRow = TestTokens::kPlaceholder;
inline constexpr int32_t kNone = TestTokens::kMasked;

// Two rows of seven tokens. The first has its last placeholder and id 30 behind the last token that
// counts, the second repeats ids.
inline const TestTokens kTokens{.num_rows = 2,
                                .row_length = 7,
                                .ids = {kRow, kRow, 5, 6, 7, kRow, 30,  //
                                        kRow, 5, 5, 9, 39, 0, 6},
                                .targets = {kNone, 5, 6, 7, 8, kNone, kNone,  //
                                            kNone, 5, 9, 39, 0, 6, 1}};

inline const TestTokens kTextOnly{
    .num_rows = 1, .row_length = 6, .ids = {3, 1, 4, 1, 5, 9}, .targets = {1, 4, 1, 5, kNone, 2}};

inline std::vector<double> RandomRows(int64_t rows, uint64_t seed) {
  std::vector<double> values(rows * 8);
  FillRandom(TensorView(values.data(), DType::kF64, {rows * 8}), seed, 1);
  return values;
}

// A microbatch with rows that arrive and a place for their gradients.
struct Microbatch {
  explicit Microbatch(const TestTokens& tokens, uint64_t seed = 50)
      : batch(tokens),
        upstream(RandomRows(tokens.num_placeholders(), seed)),
        d_upstream(upstream.size(), std::numeric_limits<double>::quiet_NaN()) {}

  TestTokenBatch<double> batch;
  std::vector<double> upstream, d_upstream;
};

inline void Train(HybridHarness<double>& m, Microbatch& microbatch, int slot = 0) {
  ASSERT_THAT(m.Forward(*microbatch.batch, microbatch.upstream, slot), ::absl_testing::IsOk());
  ASSERT_THAT(m.Backward(microbatch.d_upstream, slot), ::absl_testing::IsOk());
}

}  // namespace hetero::hybrid_microbatch

#endif  // HETERO_MODELS_NEMOTRON_HYBRID_MICROBATCH_H_
