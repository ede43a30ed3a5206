#include "hetero/models/blocks/projector/projector.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <numeric>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/matchers.h"
#include "hetero/models/testing/gradient_check.h"
#include "hetero/params/table.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

ProjectorConfig Config(ProjectorConfig::Kind kind, bool rms_norm) {
  return {.kind = kind,
          .rms_norm = rms_norm,
          .input_size = 6,
          .ffn_size = 7,
          .output_size = 5,
          .storage = DType::kF64};
}

class ProjectorTest : public ::testing::TestWithParam<ProjectorConfig> {
 protected:
  static constexpr int64_t kRows = 4;

  ProjectorTest() {
    uint64_t seed = 1;
    for (const auto& parameter : store_->parameters()) {
      FillRandom(parameter->value, seed++, 0.5, 0.2);
    }
    FillRandom(Input(), 50, 1);
    FillRandom(TensorView(std::span<double>(probe_), {kRows, 5}), 51, 1);
  }

  TensorView Input() { return {input_.data(), DType::kF64, {kRows, 6}}; }
  std::span<const double> Value(const char* name) {
    return store_->Find(name).value()->value.values<double>();
  }
  std::vector<double> Forward() {
    context_.Reset();
    const absl::StatusOr<TensorView> out = projector_.Forward(*context_, Input(), kRows, saved_);
    EXPECT_THAT(out, IsOk());
    const std::span<const double> values = out->values<double>();
    return {values.begin(), values.end()};
  }
  double Loss() {
    const std::vector<double> out = Forward();
    return std::inner_product(out.begin(), out.end(), probe_.begin(), 0.0);
  }

  MemoryLedger memory_;
  std::unique_ptr<ParameterStore> store_ =
      ParameterStore::Create(ParameterTable::Make(Projector::Parameters(GetParam(), "", 0)).value(),
                             {}, {}, memory_)
          .value();
  Projector projector_ = Projector::Create(GetParam(), "", *store_, nullptr).value();
  Projector::Saved saved_;
  std::vector<double> input_ = std::vector<double>(kRows * 6);
  std::vector<double> probe_ = std::vector<double>(kRows * 5);
  TestContext context_;
};

std::vector<double> Product(const std::vector<double>& x, std::span<const double> w) {
  std::vector<double> y;
  for (size_t n = 0; n < w.size() / x.size(); ++n) {
    y.push_back(std::inner_product(x.begin(), x.end(), w.begin() + n * x.size(), 0.0));
  }
  return y;
}

TEST_P(ProjectorTest, ForwardIsTheFormula) {
  std::vector<double> expected;
  for (int64_t r = 0; r < kRows; ++r) {
    std::vector<double> x(input_.begin() + r * 6, input_.begin() + (r + 1) * 6);
    if (GetParam().kind == ProjectorConfig::Kind::kAffine) {
      x = Product(x, Value("encoder.weight"));
    } else {
      if (GetParam().rms_norm) {
        const double mean = std::inner_product(x.begin(), x.end(), x.begin(), 0.0) / 6;
        for (int i = 0; i < 6; ++i) {
          x[i] *= Value("encoder.linear_fc1.layer_norm_weight")[i] / std::sqrt(mean + 1e-5);
        }
      }
      x = Product(x, Value("encoder.linear_fc1.weight"));
      for (double& value : x) value = std::pow(std::max(value, 0.0), 2);
      x = Product(x, Value("encoder.linear_fc2.weight"));
    }
    expected.insert(expected.end(), x.begin(), x.end());
  }
  EXPECT_THAT(Forward(), IsCloseTo(expected, {.absolute = 1e-13, .relative = 1e-13}));
}

TEST_P(ProjectorTest, GradientsMatchDifferences) {
  Forward();
  std::vector<double> d_input(input_.size());
  const TensorView d_input_ND(std::span<double>(d_input), {kRows, 6});
  const ConstTensorView probe(std::span<const double>(probe_), {kRows, 5});
  ASSERT_THAT(projector_.Backward(*context_, saved_, probe, d_input_ND), IsOk());
  std::vector<CheckedTensor> tensors = CheckedParameters(*store_);
  tensors.push_back({"input", Input(), d_input_ND});
  CheckGradients([&] { return Loss(); }, tensors);
}

TEST_P(ProjectorTest, FrozenEncoderCostsNoInputGradient) {
  Forward();
  const double forward_flops = context_->stream.ledger().total_flops();
  const ConstTensorView probe(std::span<const double>(probe_), {kRows, 5});
  ASSERT_THAT(projector_.Backward(*context_, saved_, probe, {}), IsOk());
  const double backward_flops = context_->stream.ledger().total_flops() - forward_flops;
  if (GetParam().kind == ProjectorConfig::Kind::kAffine) {
    EXPECT_EQ(backward_flops, forward_flops);
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, ProjectorTest,
                         ::testing::Values(Config(ProjectorConfig::Kind::kAffine, false),
                                           Config(ProjectorConfig::Kind::kMlp, false),
                                           Config(ProjectorConfig::Kind::kMlp, true)));

TEST(ProjectorConfigTest, ProductionParameterCounts) {
  ProjectorConfig config{.input_size = 5120, .ffn_size = 20480, .output_size = 2688};
  const auto count = [&] {
    return ParameterTable::Make(Projector::Parameters(config, "", 0)).value().num_parameters();
  };
  EXPECT_EQ(count(), 13762560);
  config.kind = ProjectorConfig::Kind::kMlp;
  config.rms_norm = true;
  EXPECT_EQ(count(), 159912960);
}

TEST(ProjectorConfigTest, AffineHasNoNorm) {
  MemoryLedger memory;
  ProjectorConfig config = Config(ProjectorConfig::Kind::kAffine, true);
  const auto store =
      ParameterStore::Create(ParameterTable::Make(Projector::Parameters(config, "", 0)).value(), {},
                             {}, memory)
          .value();
  EXPECT_THAT(Projector::Create(config, "", *store, nullptr),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("affine")));
}

}  // namespace
}  // namespace hetero
