// Embedding and head of a vocabulary that tensor-parallel ranks divide, with nothing in between.

#include <cstdint>
#include <optional>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/status.h"
#include "hetero/models/blocks/embedding/embedding.h"
#include "hetero/models/blocks/head/head.h"
#include "hetero/models/blocks/vocabulary.h"
#include "hetero/models/testing/parallel_microbatch.h"
#include "hetero/models/testing/parallel_rig.h"
#include "hetero/models/testing/token_batch.h"
#include "hetero/params/table.h"

namespace hetero {
namespace {

constexpr int64_t kHidden = 8;

struct Module {
  static absl::StatusOr<Module> Make(ParallelRig& rig, int64_t vocabulary_size,
                                     std::optional<int64_t> chunk_rows = {}) {
    const HeadConfig config = {.vocabulary = {.vocabulary_size = vocabulary_size,
                                              .hidden_size = kHidden,
                                              .storage = DType::kF64},
                               .logits_chunk_rows = chunk_rows};
    std::vector<ParameterSpec> specs = EmbeddingBlock::Parameters(config.vocabulary);
    for (ParameterSpec& spec : HeadBlock::Parameters(config)) specs.push_back(std::move(spec));
    HETERO_ASSIGN_OR_RETURN(const ParameterTable table, ParameterTable::Make(std::move(specs)));
    const HeadTotals totals = {.loss_2 = rig.Zeros(DType::kF64, 2),
                               .matches_2 = rig.Zeros(DType::kI64, 2),
                               .invalid_ids_1 = rig.Zeros(DType::kI64, 1)};
    Communicator* const ranks = rig.communicators().Of(Family::kTp);
    ParameterStore& parameters = rig.MakeParameters(table);
    HETERO_ASSIGN_OR_RETURN(EmbeddingBlock embedding,
                            EmbeddingBlock::Create(parameters, totals.invalid_ids_1, ranks));
    HETERO_ASSIGN_OR_RETURN(HeadBlock head, HeadBlock::Create(config, parameters, totals, ranks));
    return Module{embedding, head, totals, parameters};
  }

  EmbeddingBlock embedding;
  HeadBlock head;
  HeadTotals totals;
  ParameterStore& parameters;
};

// Ranks, sequences of seven tokens, and rows of the vocabulary.
class VocabularyParallelTest
    : public ::testing::TestWithParam<std::tuple<int64_t, int64_t, int64_t>> {};

TEST_P(VocabularyParallelTest, TrainingIsThatOfOneRank) {
  const auto [num_ranks, num_rows, vocabulary_size] = GetParam();
  const auto run = [&](ParallelRig& rig) -> absl::Status {
    HETERO_ASSIGN_OR_RETURN(const Module module, Module::Make(rig, vocabulary_size));
    ModuleContext& context = rig.context();
    for (const int64_t lane : rig.lanes()) {
      const TestTokens tokens =
          RandomTokens(num_rows, 7, vocabulary_size, rig.Generator("tokens", lane));
      const ParallelMicrobatch microbatch(rig, lane, tokens, kHidden);
      HETERO_ASSIGN_OR_RETURN(
          const TensorView hidden_RH,
          module.embedding.Forward(context, microbatch.batch(), microbatch.edges()));
      rig.KeepRows("hidden", lane, hidden_RH, tokens.num_tokens());
      HeadBlock::Saved saved;
      HETERO_RETURN_IF_ERROR(module.head.Forward(context, hidden_RH, microbatch.batch(), saved));
      const ArenaScope scope(context.stream.workspace());
      HETERO_ASSIGN_OR_RETURN(const TensorView d_hidden_RH, module.head.Backward(context, saved));
      rig.KeepGradientRows("d hidden", lane, d_hidden_RH, tokens.num_tokens());
      HETERO_RETURN_IF_ERROR(module.embedding.Backward(context, microbatch.batch(), d_hidden_RH,
                                                       microbatch.d_edges()));
      microbatch.KeepEdgeGradients(rig);
    }
    rig.KeepPart("loss and weight", module.totals.loss_2);
    return rig.KeepGradients(module.parameters);
  };
  ExpectLikeOneRank({.name = "module", .num_ranks = num_ranks, .tp = num_ranks}, run);
  ExpectLikeOneRank({.name = "module", .num_ranks = 2 * num_ranks, .tp = num_ranks}, run);
}

// Every token is the target of the last token once: it matches where it is the largest logit.
TEST_P(VocabularyParallelTest, EvaluationFindsTheSameLargestLogit) {
  const auto [num_ranks, num_rows, vocabulary_size] = GetParam();
  ExpectLikeOneRank(
      {.name = "module", .num_ranks = num_ranks, .tp = num_ranks},
      [&](ParallelRig& rig) -> absl::Status {
        HETERO_ASSIGN_OR_RETURN(const Module module, Module::Make(rig, vocabulary_size));
        ModuleContext& context = rig.context();
        context.mode = Mode::kEval;
        TestTokens tokens = RandomTokens(num_rows, 7, vocabulary_size, rig.Generator("tokens", 0));
        tokens.targets.assign(tokens.num_tokens(), TestTokens::kMasked);
        std::vector<double> matches;
        for (int32_t target = 0; target < vocabulary_size; ++target) {
          tokens.targets.back() = target;
          const ParallelMicrobatch microbatch(rig, 0, tokens, kHidden);
          HETERO_ASSIGN_OR_RETURN(
              const TensorView hidden_RH,
              module.embedding.Forward(context, microbatch.batch(), microbatch.edges()));
          HeadBlock::Saved saved;
          HETERO_RETURN_IF_ERROR(
              module.head.Forward(context, hidden_RH, microbatch.batch(), saved));
          if (rig.shape_only()) continue;
          matches.push_back(static_cast<double>(module.totals.matches_2.values<int64_t>()[1]));
        }
        rig.KeepPart("matches", ConstTensorView(matches.data(), DType::kF64,
                                                {static_cast<int64_t>(matches.size())}));
        rig.KeepPart("judged and matched", module.totals.matches_2);
        if (!rig.shape_only() && rig.shard().tp.rank == 0) {
          EXPECT_EQ(module.totals.matches_2.values<int64_t>()[0], vocabulary_size);
          EXPECT_EQ(module.totals.matches_2.values<int64_t>()[1], 1);
        }
        return absl::OkStatus();
      });
}

// A step's calls are known before its tokens are.
TEST(VocabularyParallelCallsTest, RanksCallAsOftenWhicheverTokensCount) {
  ExpectLikeOneRank(
      {.name = "module", .num_ranks = 2, .tp = 2}, [&](ParallelRig& rig) -> absl::Status {
        HETERO_ASSIGN_OR_RETURN(const Module module, Module::Make(rig, 40, /*chunk_rows=*/3));
        ModuleContext& context = rig.context();
        TestTokens tokens = RandomTokens(2, 7, 40, rig.Generator("tokens", 0));
        std::vector<uint64_t> calls;
        for (const int64_t counted : {14, 7, 1, 0}) {
          for (int64_t t = 0; t < tokens.num_tokens(); ++t) {
            tokens.targets[t] = t < counted ? 5 : TestTokens::kMasked;
          }
          const ParallelMicrobatch microbatch(rig, 0, tokens, kHidden);
          HETERO_ASSIGN_OR_RETURN(
              const TensorView hidden_RH,
              module.embedding.Forward(context, microbatch.batch(), microbatch.edges()));
          context.stream.ledger().Reset();
          HeadBlock::Saved saved;
          HETERO_RETURN_IF_ERROR(
              module.head.Forward(context, hidden_RH, microbatch.batch(), saved));
          calls.push_back(context.stream.ledger().collective_hash());
        }
        EXPECT_THAT(calls, ::testing::Each(calls.front()));
        rig.KeepPart("loss and weight", module.totals.loss_2);
        return rig.KeepGradients(module.parameters);
      });
}

// Vocabularies that fill all ranks, leave the last with fewer rows, and leave some without.
INSTANTIATE_TEST_SUITE_P(Ranks, VocabularyParallelTest,
                         ::testing::Combine(::testing::Values(2, 4), ::testing::Values(1, 3),
                                            ::testing::Values(512, 300, 40)));

}  // namespace
}  // namespace hetero
