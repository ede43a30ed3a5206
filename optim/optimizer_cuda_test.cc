#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/base/matchers.h"
#include "hetero/grid/module_grid.h"
#include "hetero/optim/learning_rate.h"
#include "hetero/optim/module_optimizer.h"
#include "hetero/optim/optimizer.h"
#include "hetero/params/parameter_store.h"
#include "hetero/tensor/copy.h"
#include "hetero/tensor/dtype.h"
#include "hetero/tensor/ops/cuda_testing.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

constexpr int64_t kCount = 3 * 1001;

LearningRateSchedule Cosine() {
  return LearningRateSchedule::Make(
             {.style = LearningRateStyle::kCosine, .peak = 0.01, .decay_samples = 100})
      .value();
}

// A module of two parameters with its optimizer, on one device.
struct Module {
  Module(Device device, DType storage)
      : stream(device),
        store(ParameterStore::Create(
                  ParameterTable::Make({{.name = "a",
                                         .shape = {3, 1001},
                                         .storage = storage,
                                         .init = Init::Normal(0.5)},
                                        {.name = "b", .shape = {5}, .storage = storage}})
                      .value(),
                  {}, device, memory)
                  .value()),
        module(ModuleOptimizer::Create(
                   {.adamw = {.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8, .weight_decay = 0.1}},
                   *store, Grid::Make({.name = "language", .num_ranks = 1}).value(), GlobalRank(0),
                   device, memory)
                   .value()),
        optimizer(Optimizer::Create({.learning_rate = Cosine(),
                                     .clip_gradient_norm = 1.0,
                                     .modules = {{"language", {"a", "b"}}},
                                     .num_addends = 1},
                                    {module.get()}, nullptr, *stream, memory)
                      .value()),
        addends(Buffer::Allocate(device, MemoryLabel::kData, 8, memory).value()),
        tokens(Buffer::Allocate(device, MemoryLabel::kData, 8, memory).value()) {
    EXPECT_THAT(store->Initialize(7, *stream), IsOk());
    EXPECT_THAT(module->LoadMasters(*stream), IsOk());
  }

  absl::Status Queue(const std::vector<float>& gradient, double addend) {
    Parameter& parameter = *store->Find("a").value();
    parameter.AccumulateGradient();
    const TensorView sum = addends.View(DType::kF64, {1});
    for (const absl::Status& status :
         {CopyToDevice(ConstTensorView(gradient.data(), DType::kF32, {kCount}),
                       parameter.gradient.Reshape({kCount}), *stream),
          store->FinishGradients(*stream), Fill(addend, sum, *stream),
          Fill(4, tokens.View(DType::kF64, {1}), *stream),
          optimizer->Queue(
              {.samples = 10, .tokens = tokens.View(DType::kF64, {1}), .addends = sum})}) {
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  std::vector<double> Values() {
    const TensorView value = store->Find("a").value()->value.Reshape({kCount});
    const TensorView master = module->moments()[0].master;
    const bool has_master = !master.is_null();
    const int64_t begin = store->groups()[0].segments[0].range.begin;
    std::vector<float> host(kCount);
    EXPECT_THAT(CopyToHost(has_master ? ConstTensorView(master.Rows(begin, kCount)) : value,
                           TensorView(host.data(), DType::kF32, {kCount}), *stream),
                IsOk());
    EXPECT_THAT(stream->Synchronize(), IsOk());
    return {host.begin(), host.end()};
  }

  MemoryLedger memory;
  StreamWithWorkspace stream;
  std::unique_ptr<ParameterStore> store;
  std::unique_ptr<ModuleOptimizer> module;
  std::unique_ptr<Optimizer> optimizer;
  Buffer addends;
  Buffer tokens;
};

class OptimizerCudaTest : public ::testing::TestWithParam<DType> {};

// The second step is skipped; each is queued before the last one's report is read. Masters are f32
// whatever the storage; the CPU, which has no bf16, begins with values rounded to it.
TEST_P(OptimizerCudaTest, FollowsTheCpuThroughASkippedStep) {
  Module cpu(Device{}, DType::kF32), gpu(Device{DeviceKind::kCuda}, GetParam());
  const Module predicted({.kind = DeviceKind::kShapeOnly, .predicts = DeviceKind::kCuda},
                         GetParam());
  EXPECT_EQ(gpu.memory, predicted.memory);
  if (GetParam() == DType::kF32) {
    EXPECT_EQ(cpu.memory, gpu.memory);
  } else {
    for (float& value : cpu.store->Find("a").value()->value.values<float>()) {
      value = static_cast<float>(BFloat16(value));
    }
  }
  EXPECT_EQ(gpu.Values(), cpu.Values());
  std::mt19937_64 generator = FreshGenerator();
  std::normal_distribution<float> normal;
  constexpr int kSteps = 4;
  std::vector<StepReport> expected, reports;
  for (int step = 0; step < kSteps; ++step) {
    std::vector<float> gradient(kCount);
    for (float& value : gradient) value = normal(generator);
    if (step == 1) gradient[1234] = std::numeric_limits<float>::infinity();
    ASSERT_THAT(cpu.Queue(gradient, step + 0.5), IsOk());
    expected.push_back(cpu.optimizer->Report().value());
    ASSERT_THAT(gpu.Queue(gradient, step + 0.5), IsOk());
    if (step > 0) reports.push_back(gpu.optimizer->Report().value());
  }
  reports.push_back(gpu.optimizer->Report().value());
  EXPECT_EQ(gpu.optimizer->progress(), cpu.optimizer->progress());
  EXPECT_EQ(gpu.optimizer->progress().skipped_non_finite, 1);
  for (int step = 0; step < kSteps; ++step) {
    EXPECT_EQ(reports[step].outcome, expected[step].outcome);
    EXPECT_EQ(reports[step].learning_rate, expected[step].learning_rate);
    EXPECT_EQ(reports[step].tokens, 4);
    EXPECT_THAT(reports[step].sums, ::testing::ElementsAre(step + 0.5));
    if (reports[step].outcome == StepOutcome::kNonFinite) {
      EXPECT_TRUE(std::isnan(reports[step].gradient_norm));
      EXPECT_TRUE(std::isnan(expected[step].gradient_norm));
    } else {
      // Sums in f64, in another order.
      EXPECT_NEAR(reports[step].gradient_norm, expected[step].gradient_norm,
                  1e-12 * expected[step].gradient_norm);
    }
    EXPECT_NEAR(reports[step].clip_factor, expected[step].clip_factor, 1e-12);
  }
  // Of size 1 after three updates of at most 0.01, each a handful of f32 roundings apart.
  EXPECT_THAT(gpu.Values(), IsCloseTo(cpu.Values(), {.absolute = 4 * Epsilon<float>(),
                                                     .relative = 8 * Epsilon<float>()}));
}

INSTANTIATE_TEST_SUITE_P(Storage, OptimizerCudaTest, ::testing::Values(DType::kF32, DType::kBF16),
                         DTypeName);

}  // namespace
}  // namespace hetero
