#include "hetero/tools/bench/run_start_file.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/ckpt/format/element_type.h"
#include "hetero/ckpt/safetensors/reader.h"
#include "hetero/ckpt/storage/posix_storage.h"
#include "hetero/models/registry.h"
#include "hetero/tensor/dtype.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

template <typename T>
std::vector<T> Values(const SafetensorsReader& file, const std::string& name) {
  const auto tensor = file.Find(name);
  EXPECT_THAT(tensor, IsOk());
  EXPECT_EQ((*tensor)->type, ElementTypeOf(kDTypeOf<T>));
  std::vector<T> values((*tensor)->bytes() / sizeof(T));
  EXPECT_THAT(file.Read(name, 0, std::as_writable_bytes(std::span(values))), IsOk());
  return values;
}

std::unique_ptr<SafetensorsReader> Write(const proto::RunConfig& config) {
  const std::filesystem::path path = TestFolder() / "start.safetensors";
  EXPECT_THAT(WriteRunStart(config, TestFolder(), path, {}), IsOk());
  PosixStorage storage;
  auto file = SafetensorsReader::Open(storage, path);
  EXPECT_THAT(file, IsOk());
  return *std::move(file);
}

// What the program itself used, step by step: a step reports the rate of the next update.
TEST(RunStartFileTest, LearningRatesAreThoseOfTheRun) {
  const proto::RunConfig config = RecipeConfig(
      "mock_tiny", {"train_steps=12", "schedule.warmup_steps=5", "schedule.initial=1e-4"});
  const std::vector<double> rates = Values<double>(*Write(config), "learning_rates");
  const RecipeRun run = RunConfigured(config);
  ASSERT_THAT(run.status, IsOk());
  ASSERT_EQ(rates.size(), 12);
  EXPECT_EQ(rates[0], 1e-4);
  for (size_t step = 0; step + 1 < rates.size(); ++step) {
    EXPECT_EQ(rates[step + 1], run.steps[step].learning_rate.value()) << step;
  }
}

// The default recipe's first update runs at 1/30 of the peak, the 31st at the peak, and the decay
// ends with the run.
TEST(RunStartFileTest, TheDefaultRecipeWarmsUpFromItsInitialRate) {
  const std::unique_ptr<SafetensorsReader> start = Write(RecipeConfig("fashion_tiny"));
  const std::vector<double> rates = Values<double>(*start, "learning_rates");
  ASSERT_EQ(rates.size(), 600);
  for (int step = 0; step <= 30; ++step) {
    EXPECT_NEAR(rates[step], 1e-4 + 2.9e-3 * step / 30, 1e-12) << step;
  }
  EXPECT_NEAR(rates[315], 1.5e-3, 1e-12);
  // Every photograph once an epoch: 38,400 of 60,000.
  std::vector<int64_t> samples = Values<int64_t>(*start, "samples");
  ASSERT_EQ(samples.size(), 600 * 64);
  std::ranges::sort(samples);
  EXPECT_EQ(std::ranges::adjacent_find(samples), samples.end());
  EXPECT_GE(samples.front(), 0);
  EXPECT_LT(samples.back(), 60000);
}

TEST(RunStartFileTest, HasEveryParameterOfEveryModule) {
  const proto::RunConfig config = RecipeConfig("mock_vlm_tiny");
  const std::unique_ptr<SafetensorsReader> start = Write(config);
  const auto model = BuiltInModels().Make(config.model(), DType::kF32);
  ASSERT_THAT(model, IsOk());
  size_t num_tensors = 2;
  for (const std::string& module : (*model)->graph().ModuleNames()) {
    const auto table = (*model)->MakeTable(module, ShardSpec{});
    ASSERT_THAT(table, IsOk());
    for (const ParameterSpec& spec : table->specs()) {
      SCOPED_TRACE(spec.name);
      ++num_tensors;
      const std::string name = module + "/" + spec.name;
      const auto tensor = start->Find(name);
      ASSERT_THAT(tensor, IsOk());
      EXPECT_EQ((*tensor)->shape, spec.shape);
      EXPECT_EQ(Values<float>(*start, name).size(), spec.num_elements());
    }
  }
  EXPECT_EQ(start->tensors().size(), num_tensors);
}

}  // namespace
}  // namespace hetero
