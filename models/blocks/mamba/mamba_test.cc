#include "hetero/models/blocks/mamba/mamba.h"

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/matchers.h"
#include "hetero/base/status.h"
#include "hetero/models/testing/gradient_check.h"
#include "hetero/models/testing/parallel_rig.h"
#include "hetero/models/testing/residual_block_rig.h"
#include "hetero/params/table.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::Ne;

MambaConfig SmallConfig(DType storage = DType::kF64) {
  return {.hidden_size = 6,
          .num_heads = 4,
          .head_dim = 3,
          .num_groups = 2,
          .state_size = 5,
          .chunk_size = 4,
          .storage = storage};
}

// A block with random parameters, a random stream of `tokens` tokens and a random probe.
class Fixture {
 public:
  Fixture(const MambaConfig& config, int64_t rows, int64_t row_length)
      : config_(config), rows_(rows), row_length_(row_length) {
    uint64_t seed = 1;
    for (const auto& parameter : store_->parameters()) {
      FillRandom(parameter->value, ++seed, 0.5, 0.2);
    }
    FillRandom(hidden_TH(), 77, 1);
    FillRandom(probe_TH(), 78, 1);
  }

  int64_t tokens() const { return rows_ * row_length_; }
  TensorView hidden_TH() { return Matrix(hidden_); }
  TensorView probe_TH() { return Matrix(probe_); }
  ParameterStore& store() { return *store_; }
  TestContext& context() { return context_; }

  // Numbers the sequences of a pack.
  void SetSequences(std::vector<int32_t> index) { sequence_index_ = std::move(index); }

  SequenceBatch batch() {
    SequenceBatch batch{.num_rows = rows_, .row_length = row_length_};
    if (!sequence_index_.empty()) {
      batch.sequence_index = ConstTensorView(sequence_index_.data(), DType::kI32, {tokens()});
    }
    return batch;
  }

  std::vector<double> Forward() {
    context_.Reset();
    const absl::StatusOr<TensorView> out = block_.Forward(*context_, hidden_TH(), batch(), saved_);
    EXPECT_THAT(out, IsOk());
    return {out->values<double>().begin(), out->values<double>().end()};
  }

  // <probe, hidden'>
  double Loss() {
    const std::vector<double> out = Forward();
    double loss = 0;
    for (size_t i = 0; i < out.size(); ++i) loss += probe_[i] * out[i];
    return loss;
  }

  // The gradient of the stream; forward has run.
  std::vector<double> Backward() {
    std::vector<double> d_hidden = probe_;
    EXPECT_THAT(block_.Backward(*context_, saved_, Matrix(d_hidden)), IsOk());
    return d_hidden;
  }

  TensorView Matrix(std::vector<double>& values) {
    return TensorView(std::span<double>(values), {tokens(), config_.hidden_size});
  }

 private:
  MambaConfig config_;
  int64_t rows_, row_length_;
  MemoryLedger memory_;
  std::unique_ptr<ParameterStore> store_ =
      ParameterStore::Create(ParameterTable::Make(MambaBlock::Parameters(config_, "l.")).value(),
                             {}, {}, memory_)
          .value();
  MambaBlock block_ = MambaBlock::Create(config_, "l.", *store_, nullptr).value();
  MambaBlock::Saved saved_;
  TestContext context_;
  std::vector<int32_t> sequence_index_;
  std::vector<double> hidden_ = std::vector<double>(tokens() * config_.hidden_size);
  std::vector<double> probe_ = hidden_;
};

void ExpectGradientsMatchDifferences(Fixture& fixture) {
  fixture.Loss();
  std::vector<double> d_hidden = fixture.Backward();
  std::vector<CheckedTensor> tensors = CheckedParameters(fixture.store());
  tensors.push_back({"hidden", fixture.hidden_TH(), fixture.Matrix(d_hidden)});
  CheckGradients([&] { return fixture.Loss(); }, tensors);
}

TEST(MambaBlockTest, GradientsMatchDifferences) {
  Fixture fixture(SmallConfig(), 2, 7);
  ExpectGradientsMatchDifferences(fixture);
}

TEST(MambaBlockTest, GradientsOfAPackMatchDifferences) {
  Fixture fixture(SmallConfig(), 1, 14);
  fixture.SetSequences({0, 0, 1, 1, 1, 1, 2, 3, 3, 3, 3, 3, 3, 3});
  ExpectGradientsMatchDifferences(fixture);
}

// Biases of the projections instead of the convolution's, and fewer taps.
MambaConfig OtherConfig() {
  MambaConfig config = SmallConfig();
  config.conv_kernel = 2;
  config.conv_bias = false;
  config.use_bias = true;
  return config;
}

TEST(MambaBlockTest, GradientsOfBiasedProjectionsMatchDifferences) {
  Fixture fixture(OtherConfig(), 2, 7);
  ExpectGradientsMatchDifferences(fixture);
}

// The first head's steps are below the limits, the second's above, all others between: nowhere does
// a difference cross one.
TEST(MambaBlockTest, StepsAreLimited) {
  MambaConfig config = SmallConfig();
  config.steps = {.min = 1e-3, .max = 6};
  Fixture limited(config, 2, 7), free(SmallConfig(), 2, 7);
  for (Fixture* const fixture : {&limited, &free}) {
    const auto dt_bias = fixture->store().Find("l.mixer.dt_bias").value()->value.values<double>();
    std::ranges::copy(std::vector<double>{-20, 20, 0.1, -0.1}, dt_bias.begin());
  }
  ExpectGradientsMatchDifferences(limited);
  const auto d_dt_bias = limited.store().Find("l.mixer.dt_bias").value()->gradient;
  EXPECT_THAT(d_dt_bias.Rows(0, 2).values<double>(), Each(0.0));
  EXPECT_THAT(d_dt_bias.Rows(2, 2).values<double>(), Each(Ne(0.0)));
  EXPECT_NE(limited.Forward(), free.Forward());
}

TEST(MambaBlockTest, APackEqualsItsSequencesAlone) {
  const std::vector<int64_t> lengths = {2, 9, 1, 6};
  Fixture pack(SmallConfig(), 1, 18);
  std::vector<int32_t> index;
  for (size_t i = 0; i < lengths.size(); ++i) {
    index.insert(index.end(), lengths[i], static_cast<int32_t>(i));
  }
  pack.SetSequences(index);
  const std::vector<double> out = pack.Forward();
  const std::vector<double> d_hidden = pack.Backward();
  std::vector<std::vector<double>> gradients;
  int64_t begin = 0;
  for (int64_t length : lengths) {
    Fixture alone(SmallConfig(), 1, length);
    const auto rows = [&](const auto& all) {
      return std::vector<double>(all.begin() + begin * 6, all.begin() + (begin + length) * 6);
    };
    const std::vector<double> hidden = rows(pack.hidden_TH().values<double>());
    const std::vector<double> probe = rows(pack.probe_TH().values<double>());
    std::copy(hidden.begin(), hidden.end(), alone.hidden_TH().values<double>().begin());
    std::copy(probe.begin(), probe.end(), alone.probe_TH().values<double>().begin());
    const ErrorSpec spec{.relative_to_max = 1e-13};
    EXPECT_THAT(alone.Forward(), IsCloseTo(rows(out), spec));
    EXPECT_THAT(alone.Backward(), IsCloseTo(rows(d_hidden), spec));
    gradients.resize(alone.store().parameters().size());
    for (size_t p = 0; p < gradients.size(); ++p) {
      const auto gradient = alone.store().parameters()[p]->gradient.values<double>();
      gradients[p].resize(gradient.size());
      for (size_t i = 0; i < gradient.size(); ++i) gradients[p][i] += gradient[i];
    }
    begin += length;
  }
  for (size_t p = 0; p < gradients.size(); ++p) {
    EXPECT_THAT(pack.store().parameters()[p]->gradient.values<double>(),
                IsCloseTo(gradients[p], {.relative_to_max = 1e-12}))
        << pack.store().parameters()[p]->spec->name;
  }
}

TEST(MambaBlockTest, ASecondMicrobatchAddsItsGradients) {
  Fixture fixture(SmallConfig(), 2, 5);
  fixture.Forward();
  fixture.Backward();
  std::vector<std::string> names;
  std::vector<std::vector<double>> once;
  for (const auto& parameter : fixture.store().parameters()) {
    names.push_back(parameter->spec->name);
    const auto gradient = parameter->gradient.values<double>();
    once.emplace_back(gradient.begin(), gradient.end());
  }
  fixture.Forward();
  fixture.Backward();
  for (size_t p = 0; p < once.size(); ++p) {
    for (double& g : once[p]) g *= 2;
    EXPECT_THAT(fixture.store().parameters()[p]->gradient.values<double>(),
                IsCloseTo(once[p], {.relative_to_max = 64 * Epsilon<double>()}))
        << names[p];
  }
}

TEST(MambaBlockTest, AFrozenBlockStillPassesTheSameGradientOn) {
  Fixture fixture(SmallConfig(), 2, 5);
  fixture.Forward();
  const std::vector<double> d_hidden = fixture.Backward();
  fixture.context()->needs_weight_gradient = false;
  for (const auto& parameter : fixture.store().parameters()) FillRandom(parameter->gradient, 3, 1);
  const std::vector<double> before(
      fixture.store().parameters()[1]->gradient.values<double>().begin(),
      fixture.store().parameters()[1]->gradient.values<double>().end());
  fixture.Forward();
  EXPECT_THAT(fixture.Backward(), ElementsAreArray(d_hidden));
  EXPECT_THAT(fixture.store().parameters()[1]->gradient.values<double>(), ElementsAreArray(before));
}

TEST(MambaBlockTest, EvaluationGivesTheSameOutputAndKeepsNoStates) {
  Fixture fixture(SmallConfig(), 2, 9);
  const std::vector<double> out = fixture.Forward();
  const int64_t used = fixture.context()->activations.used_bytes();
  fixture.context()->mode = Mode::kEval;
  EXPECT_THAT(fixture.Forward(), ElementsAreArray(out));
  EXPECT_LT(fixture.context()->activations.used_bytes(), used);
}

// The dry run's prediction: same operations, same arenas.
TEST(MambaBlockTest, TheShapeOnlyDevicePredictsCostAndMemory) {
  Fixture fixture(SmallConfig(), 2, 9);
  fixture.Forward();
  fixture.Backward();

  const Device device{.kind = DeviceKind::kShapeOnly};
  MemoryLedger memory;
  const auto store = ParameterStore::Create(
                         ParameterTable::Make(MambaBlock::Parameters(SmallConfig(), "l.")).value(),
                         {}, device, memory)
                         .value();
  const MambaBlock block = MambaBlock::Create(SmallConfig(), "l.", *store, nullptr).value();
  Arena activations = Arena::Counting(MemoryLabel::kActivations);
  Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
  Arena other = Arena::Counting(MemoryLabel::kData);
  Stream stream(device, workspace);
  ModuleContext context{.stream = stream, .activations = activations};
  MambaBlock::Saved saved;
  const TensorView hidden_TH = other.Allocate(DType::kF64, {18, 6}).value();
  ASSERT_THAT(block.Forward(context, hidden_TH, fixture.batch(), saved), IsOk());
  ASSERT_THAT(block.Backward(context, saved, hidden_TH), IsOk());
  EXPECT_EQ(stream.ledger().total_flops(), fixture.context()->stream.ledger().total_flops());
  EXPECT_EQ(activations.peak_bytes(), fixture.context()->activations.peak_bytes());
  EXPECT_EQ(workspace.peak_bytes(), fixture.context()->stream.workspace().peak_bytes());
}

TEST(MambaBlockTest, GroupsThatDoNotDivideTheHeadsAreRefused) {
  MambaConfig config = SmallConfig();
  MemoryLedger memory;
  const auto store =
      ParameterStore::Create(ParameterTable::Make(MambaBlock::Parameters(config, "l.")).value(), {},
                             {}, memory)
          .value();
  config.num_groups = 3;
  EXPECT_THAT(MambaBlock::Create(config, "l.", *store, nullptr),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("divisor of the 4 heads")));
}

TEST(MambaBlockRanksTest, EqualOneRank) {
  for (MambaConfig config : {SmallConfig(), OtherConfig()}) {
    config.num_heads = 16;
    config.num_groups = 8;
    for (const int64_t tp : {2, 4}) {
      ExpectBlockLikeOneRank(tp, [&](ParallelRig& rig, const SequenceBatch& batch) -> absl::Status {
        ParameterStore& parameters =
            rig.MakeParameters(ParameterTable::Make(MambaBlock::Parameters(config, "l.")).value());
        HETERO_ASSIGN_OR_RETURN(
            const MambaBlock block,
            MambaBlock::Create(config, "l.", parameters, rig.communicators().Of(Family::kTp)));
        return RunResidualBlock(rig, parameters, block, config.hidden_size, batch);
      });
    }
  }
}

TEST(MambaBlockRanksTest, RanksMustDivideTheGroups) {
  MambaConfig config = SmallConfig();
  config.state_size = 6;
  EXPECT_THAT(MakingBlock<MambaBlock>(config, /*tensor_parallel=*/4),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("l.mixer has 2 groups for 4"), HasSubstr("nearest: 2"))));
}

}  // namespace
}  // namespace hetero
