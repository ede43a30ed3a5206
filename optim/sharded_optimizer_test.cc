// Twenty steps of every layout against Adam in f64.

#include <cmath>
#include <cstdint>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/status.h"
#include "hetero/comm/run_ranks.h"
#include "hetero/optim/testing/rank_rig.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

constexpr int kSteps = 20;
constexpr double kTokens = 12;
constexpr double kClip = 2;
constexpr AdamWOptions kAdamW = {.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8, .weight_decay = 0.1};

LearningRateSchedule Cosine() {
  return LearningRateSchedule::Make({.style = LearningRateStyle::kCosine,
                                     .peak = 0.05,
                                     .minimum = 0.01,
                                     .warmup_samples = 40,
                                     .decay_samples = 400})
      .value();
}

// The summed gradient of an element in a step.
double Gradient(const ParameterSpec& spec, int64_t index, int step) {
  return std::sin(0.7 * static_cast<double>(index) + 0.3 * step +
                  static_cast<double>(spec.name.size())) *
         (1 + 0.1 * static_cast<double>(index % 7));
}

// Representable in bf16.
double InitialValue(const ParameterSpec& spec, int64_t index) {
  return static_cast<float>(BFloat16(static_cast<float>(Gradient(spec, index, /*step=*/-50) / 2)));
}

using State = absl::flat_hash_map<std::string, std::vector<double>>;  // by name

// Adam as the paper has it, on one rank.
State Oracle(const ParameterTable& table, State values) {
  State first, second;
  for (int step = 0; step < kSteps; ++step) {
    double squares = 0;
    for (const ParameterSpec& spec : table.specs()) {
      for (int64_t i = 0; i < spec.num_elements(); ++i) {
        squares += std::pow(Gradient(spec, i, step) / kTokens, 2);
      }
    }
    const double clip = std::min(1.0, kClip / (std::sqrt(squares) + 1e-6));
    const double rate = Cosine().At(10 * step), t = step + 1;
    for (const ParameterSpec& spec : table.specs()) {
      std::vector<double>& p = values[spec.name];
      first[spec.name].resize(p.size());
      second[spec.name].resize(p.size());
      for (size_t i = 0; i < p.size(); ++i) {
        const double g = clip * Gradient(spec, static_cast<int64_t>(i), step) / kTokens;
        double& m = first[spec.name][i];
        double& v = second[spec.name][i];
        m = kAdamW.beta1 * m + (1 - kAdamW.beta1) * g;
        v = kAdamW.beta2 * v + (1 - kAdamW.beta2) * g * g;
        const double update = m / (1 - std::pow(kAdamW.beta1, t)) /
                              (std::sqrt(v / (1 - std::pow(kAdamW.beta2, t))) + kAdamW.epsilon);
        p[i] -= rate * (update + (spec.decay ? kAdamW.weight_decay : 0) * p[i]);
      }
    }
  }
  return values;
}

// Writes what this rank has of the gradient: an equal part of what several sum.
void WriteGradients(RankRig& rig, int step) {
  for (FlatGroup& group : rig.store->groups()) {
    const bool dense = group.gradient_group == GradientGroup::kDense;
    const double ranks = static_cast<double>((dense ? rig.dense_group : rig.expert_group).size());
    for (const FlatSegment& segment : group.segments) {
      const ParameterSpec& spec = *segment.parameter->spec;
      const bool parts = std::ranges::any_of(segment.runs, &SharedRun::partial);
      const std::span<float> gradient = segment.parameter->gradient.values<float>();
      segment.parameter->gradient_written = true;
      for (const ShardBox& box : segment.shard->boxes) {
        const double divisor = ranks * (parts ? static_cast<double>(box.replicas) : 1);
        ForEachElement(spec.shape, segment.shard->shape, box, [&](int64_t logical, int64_t local) {
          gradient[local] = static_cast<float>(Gradient(spec, logical, step) / divisor);
        });
      }
    }
  }
}

void WriteInitialValues(RankRig& rig) {
  for (const FlatGroup& group : rig.store->groups()) {
    for (const FlatSegment& segment : group.segments) {
      const ParameterSpec& spec = *segment.parameter->spec;
      const TensorView& value = segment.parameter->value;
      for (const ShardBox& box : segment.shard->boxes) {
        ForEachElement(spec.shape, segment.shard->shape, box, [&](int64_t logical, int64_t local) {
          const auto initial = static_cast<float>(InitialValue(spec, logical));
          if (value.dtype() == DType::kBF16) {
            value.values<BFloat16>()[local] = BFloat16(initial);
          } else {
            value.values<float>()[local] = initial;
          }
        });
      }
    }
  }
}

State InitialValues(const ParameterTable& table) {
  State values;
  for (const ParameterSpec& spec : table.specs()) {
    for (int64_t i = 0; i < spec.num_elements(); ++i) {
      values[spec.name].push_back(InitialValue(spec, i));
    }
  }
  return values;
}

// What layers do: the last one is ready first.
absl::Status TellReady(BucketTraffic& traffic) {
  for (const int layer : {kLastLayer, 2, 1}) HETERO_RETURN_IF_ERROR(traffic.Ready(layer));
  return traffic.AllReady();
}

struct Trained {
  State masters;
  std::vector<std::vector<uint16_t>> rounded;  // by rank: its bf16 values
};

absl::StatusOr<Trained> Train(const ParameterTable& table, const Grid& grid,
                              const RankOptions& options, bool check_rounding) {
  Trained trained;
  absl::Mutex mutex;
  const int64_t num_ranks = grid.base().num_ranks();
  trained.rounded.resize(num_ranks);
  HETERO_RETURN_IF_ERROR(
      RunRanks(num_ranks, [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
        RankRig rig(table, grid, rank, options, &factory);
        WriteInitialValues(rig);
        HETERO_RETURN_IF_ERROR(rig.module->LoadMasters(*rig.stream));
        std::unique_ptr<Communicator> control;
        if (num_ranks > 1) {
          Group world;
          for (int64_t r = 0; r < num_ranks; ++r) world.push_back(GlobalRank(r));
          HETERO_ASSIGN_OR_RETURN(control, factory.Create({"control", world}));
        }
        rig.MakeOptimizer({.learning_rate = Cosine(), .clip_gradient_norm = kClip}, control.get());
        for (int step = 0; step < kSteps; ++step) {
          for (const int layer : {0, 1, 2, kLastLayer}) {
            HETERO_RETURN_IF_ERROR(rig.traffic->Needed(layer));
          }
          WriteGradients(rig, step);
          HETERO_RETURN_IF_ERROR(TellReady(*rig.traffic));
          HETERO_RETURN_IF_ERROR(rig.traffic->Reduce());
          HETERO_ASSIGN_OR_RETURN(
              const StepReport report,
              rig.optimizer->Step(
                  {.samples = 10, .tokens = Tokens(rank == GlobalRank(0) ? kTokens : 0)}));
          if (report.outcome != StepOutcome::kApplied) return absl::InternalError("skipped");
          HETERO_RETURN_IF_ERROR(rig.traffic->Gather());
        }
        HETERO_RETURN_IF_ERROR(rig.traffic->AllNeeded());
        const absl::MutexLock lock(&mutex);
        for (const StateTensor& state : rig.module->States()) {
          if (!state.name.starts_with("param.")) continue;
          const std::string name = state.name.substr(6);
          std::vector<double>& of_model = trained.masters[name];
          of_model.resize((*table.Find(name))->num_elements());
          const std::vector<int64_t> dims(state.local.dims().begin(), state.local.dims().end());
          const std::span<const float> local = state.local.values<float>();
          for (const ShardBox& box : state.boxes) {
            ForEachElement(state.shape, dims, box,
                           [&](int64_t logical, int64_t i) { of_model[logical] = local[i]; });
          }
        }
        if (!check_rounding) return absl::OkStatus();
        for (const auto& parameter : rig.store->parameters()) {
          for (const BFloat16 value : parameter->value.values<BFloat16>()) {
            trained.rounded[rank.value()].push_back(value.bits());
          }
        }
        return absl::OkStatus();
      }));
  return trained;
}

// What a rank's values are when they are the masters, rounded.
std::vector<uint16_t> Rounded(const ParameterTable& table, const Grid& grid, GlobalRank rank,
                              const State& masters) {
  std::vector<uint16_t> bits;
  for (const ParameterSpec& spec : table.specs()) {
    const Shard shard = ShardOf(spec, PlaceOf(grid, rank)).value();
    int64_t count = 1;
    for (const int64_t dim : shard.shape) count *= dim;
    std::vector<uint16_t> local(count);
    for (const ShardBox& box : shard.boxes) {
      ForEachElement(spec.shape, shard.shape, box, [&](int64_t logical, int64_t i) {
        local[i] = BFloat16(static_cast<float>(masters.at(spec.name)[logical])).bits();
      });
    }
    bits.insert(bits.end(), local.begin(), local.end());
  }
  return bits;
}

class ShardedOptimizerTest : public ::testing::TestWithParam<std::tuple<GridSpec, DType, int64_t>> {
};

TEST_P(ShardedOptimizerTest, FollowsAdamInDoublePrecisionWithAndWithoutOverlap) {
  const auto& [spec, storage, bucket_elements] = GetParam();
  const Grid grid = MakeGrid(spec);
  const ParameterTable table = ParameterTable::Make(EveryWayToShare(storage)).value();
  RankOptions options{
      .optimizer = {.adamw = kAdamW, .buckets = {.bucket_elements = bucket_elements}}};
  const absl::StatusOr<Trained> overlapped = Train(table, grid, options, storage == DType::kBF16);
  ASSERT_THAT(overlapped, IsOk());
  const State expected = Oracle(table, InitialValues(table));
  double squares = 0, differences = 0;
  for (const auto& [name, values] : expected) {
    const std::vector<double>& actual = overlapped->masters.at(name);
    ASSERT_EQ(actual.size(), values.size()) << name;
    for (size_t i = 0; i < values.size(); ++i) {
      squares += values[i] * values[i];
      differences += std::pow(values[i] - actual[i], 2);
    }
  }
  EXPECT_LT(std::sqrt(differences / squares), 2e-6);
  if (storage == DType::kBF16) {
    for (int64_t rank = 0; rank < spec.num_ranks; ++rank) {
      EXPECT_EQ(overlapped->rounded[rank],
                Rounded(table, grid, GlobalRank(rank), overlapped->masters));
    }
  }
  options.traffic = {.overlap_gradient_reduce = false, .overlap_parameter_gather = false};
  const absl::StatusOr<Trained> after = Train(table, grid, options, false);
  ASSERT_THAT(after, IsOk());
  EXPECT_EQ(after->masters, overlapped->masters);
}

std::string LayoutName(const ::testing::TestParamInfo<ShardedOptimizerTest::ParamType>& info) {
  const auto& [spec, storage, bucket_elements] = info.param;
  return absl::StrCat("ranks", spec.num_ranks, "_tp", spec.tp, "_ep", spec.ep, "_",
                      storage == DType::kBF16 ? "bf16" : "f32", "_bucket", bucket_elements);
}

INSTANTIATE_TEST_SUITE_P(
    Layouts, ShardedOptimizerTest,
    ::testing::Combine(::testing::Values(GridSpec{.num_ranks = 1}, GridSpec{.num_ranks = 2},
                                         GridSpec{.num_ranks = 4},
                                         GridSpec{.num_ranks = 2, .tp = 2},
                                         GridSpec{.num_ranks = 4, .tp = 2},
                                         GridSpec{.num_ranks = 2, .ep = 2},
                                         GridSpec{.num_ranks = 4, .ep = 2},
                                         GridSpec{.num_ranks = 8, .tp = 2, .ep = 2}),
                       ::testing::Values(DType::kF32, DType::kBF16), ::testing::Values(0, 150)),
    LayoutName);

}  // namespace
}  // namespace hetero
