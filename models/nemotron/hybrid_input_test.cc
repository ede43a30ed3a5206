// What a language model refuses to read.

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/models/nemotron/hybrid.h"
#include "hetero/models/nemotron/hybrid_harness.h"
#include "hetero/models/nemotron/hybrid_microbatch.h"
#include "hetero/models/testing/token_batch.h"

namespace hetero {
namespace {

using namespace hybrid_microbatch;  // NOLINT: made for these tests
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

TEST(HybridInputTest, IdsOutsideTheVocabularyAreErrors) {
  HybridHarness<double> m(SmallHybridConfig("M"));
  TestTokens tokens = kTextOnly;
  tokens.ids[3] = 40;
  Microbatch id(tokens);
  EXPECT_THAT(m.Forward(*id.batch, id.upstream),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("token id 40 at 3; expected 0 to 39")));
  tokens = kTextOnly;
  tokens.targets[1] = 45;
  Microbatch target(tokens);
  EXPECT_THAT(
      m.Forward(*target.batch, target.upstream),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("target 45 at 1; expected 0 to 39")));
}

TEST(HybridInputTest, BordersInsideARowNeedASequenceIndexWhateverTheLayers) {
  for (const char* pattern : {"M", "*", "E"}) {
    HybridHarness<double> m(SmallHybridConfig(pattern));
    Microbatch b(kTextOnly);
    TokenBatch batch = *b.batch;
    const std::vector<int32_t> borders = {0, 2, 6};
    batch.sequences.cu_seqlens = borders;
    EXPECT_THAT(m.Forward(batch, b.upstream),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("inside row 0, and sequence_index is null")))
        << pattern;
  }
}

TEST(HybridInputTest, NamesRowsThatDoNotFit) {
  HybridHarness<double> m(SmallHybridConfig("M"));
  Microbatch b(kTokens);
  b.upstream = RandomRows(3, 1);
  EXPECT_THAT(
      m.Forward(*b.batch, b.upstream),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("emitted 3 rows for 4 placeholders")));
  TokenBatch batch = *b.batch;
  batch.text_positions = batch.text_positions.Rows(0, 8);
  batch.text_tokens = batch.text_tokens.Rows(0, 8);
  b.upstream = RandomRows(4, 1);
  EXPECT_THAT(m.Forward(batch, b.upstream),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("name 12 of 14 tokens")));
  const StageInput no_edge{.tokens = &*b.batch};
  EXPECT_THAT(m.stages[0]->Forward(*m.context, 0, no_edge),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("0 modalities arrive for 1 kinds of placeholders")));
}

}  // namespace
}  // namespace hetero
