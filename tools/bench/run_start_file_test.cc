#include "hetero/tools/bench/run_start_file.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/models/registry.h"
#include "hetero/trainer/testing/recipe_run.h"
#include "nlohmann/json.hpp"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

// The file's header and the bytes behind it.
struct Contents {
  nlohmann::json header;
  std::string bytes;

  template <typename T>
  std::vector<T> Values(const std::string& name) const {
    const auto& place = header.at(name).at("data_offsets");
    std::vector<T> values((place[1].get<size_t>() - place[0].get<size_t>()) / sizeof(T));
    std::memcpy(values.data(), bytes.data() + place[0].get<size_t>(), values.size() * sizeof(T));
    return values;
  }
};

Contents Write(const proto::RunConfig& config) {
  const std::filesystem::path path = TestFolder() / "start.safetensors";
  EXPECT_THAT(WriteRunStart(config, TestFolder(), path, {}), IsOk());
  std::stringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  const std::string file = text.str();
  uint64_t length = 0;
  std::memcpy(&length, file.data(), sizeof(length));
  return {.header = nlohmann::json::parse(file.substr(sizeof(length), length)),
          .bytes = file.substr(sizeof(length) + length)};
}

// What the program itself used, step by step: a step reports the rate of the next update.
TEST(RunStartFileTest, LearningRatesAreThoseOfTheRun) {
  const proto::RunConfig config = RecipeConfig(
      "mock_tiny", {"train_steps=12", "schedule.warmup_steps=5", "schedule.initial=1e-4"});
  const std::vector<double> rates = Write(config).Values<double>("learning_rates");
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
  const Contents start = Write(RecipeConfig("fashion_tiny"));
  const std::vector<double> rates = start.Values<double>("learning_rates");
  ASSERT_EQ(rates.size(), 600);
  for (int step = 0; step <= 30; ++step) {
    EXPECT_NEAR(rates[step], 1e-4 + 2.9e-3 * step / 30, 1e-12) << step;
  }
  EXPECT_NEAR(rates[315], 1.5e-3, 1e-12);
  // Every photograph once an epoch: 38,400 of 60,000.
  std::vector<int64_t> samples = start.Values<int64_t>("samples");
  ASSERT_EQ(samples.size(), 600 * 64);
  std::ranges::sort(samples);
  EXPECT_EQ(std::ranges::adjacent_find(samples), samples.end());
  EXPECT_GE(samples.front(), 0);
  EXPECT_LT(samples.back(), 60000);
}

TEST(RunStartFileTest, HasEveryParameterOfEveryModule) {
  const proto::RunConfig config = RecipeConfig("mock_vlm_tiny");
  const Contents start = Write(config);
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
      ASSERT_TRUE(start.header.contains(name));
      EXPECT_EQ(start.header[name]["shape"].get<std::vector<int64_t>>(), spec.shape);
      EXPECT_EQ(start.Values<float>(name).size(), spec.num_elements());
    }
  }
  EXPECT_EQ(start.header.size(), num_tensors);
}

}  // namespace
}  // namespace hetero
