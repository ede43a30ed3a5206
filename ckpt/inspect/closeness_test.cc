#include "hetero/ckpt/inspect/closeness.h"

#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/ckpt/safetensors/index.h"
#include "hetero/ckpt/safetensors/writer.h"
#include "hetero/ckpt/storage/memory_storage.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::testing::ElementsAre;

class ClosenessTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_THAT(storage_.MakeDirectory("/m"), IsOk()); }

  template <typename T>
  std::unique_ptr<StoredTensors> File(const std::string& name, ElementType type,
                                      const std::map<std::string, std::vector<T>>& tensors,
                                      std::map<std::string, std::string> metadata = {}) {
    std::vector<SafetensorsTensor> planned;
    for (const auto& [key, values] : tensors) {
      planned.push_back({.name = key, .type = type, .shape = {std::ssize(values)}});
    }
    const auto writer = SafetensorsWriter::Create(
        storage_, "/m", PlanSafetensorsFile(name, planned, metadata).value());
    EXPECT_THAT(writer, IsOk());
    for (const auto& [key, values] : tensors) {
      EXPECT_THAT((*writer)->Write(key, 0, std::as_bytes(std::span(values))), IsOk());
    }
    EXPECT_THAT((*writer)->Close(), IsOk());
    return StoredTensors::Open(storage_, "/m/" + name).value();
  }

  MemoryStorage storage_;
};

std::vector<std::string> Keys(const ClosenessReport& report) {
  std::vector<std::string> keys;
  for (const TensorCloseness& at : report.tensors) keys.push_back(at.key);
  return keys;
}

TEST_F(ClosenessTest, TypesMayDifferAndNumbersAreMeasured) {
  const auto a = File<float>("a.safetensors", ElementType::kF32,
                             {{"same", {1, 2}}, {"turned", {0, 3}}, {"zero", {0}}, {"only", {1}}});
  const auto b =
      File<double>("b.safetensors", ElementType::kF64,
                   {{"same", {1, 2}}, {"turned", {4, 0}}, {"zero", {0}}, {"other", {1}}});
  const auto report = CompareNumbers(*a, *b);
  ASSERT_THAT(report, IsOk());
  EXPECT_THAT(report->only_first, ElementsAre("only"));
  EXPECT_THAT(report->only_second, ElementsAre("other"));
  ASSERT_THAT(Keys(*report), ElementsAre("same", "turned", "zero"));
  EXPECT_EQ(report->tensors[0].relative, 0);
  EXPECT_EQ(report->tensors[1].relative, 1.25);
  EXPECT_EQ(report->tensors[1].cosine, 0);
  EXPECT_EQ(report->tensors[1].max_abs, 4);
  EXPECT_EQ(report->tensors[2].cosine, 1);
  EXPECT_EQ(report->FirstBeyond(1)->key, "turned");
  EXPECT_EQ(report->FirstBeyond(1.25), nullptr);
}

TEST_F(ClosenessTest, WhatIsNoNumberIsBeyondAnyTolerance) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const auto a = File<float>("a.safetensors", ElementType::kF32, {{"w", {1, kNan}}, {"z", {1}}});
  const auto b = File<float>("b.safetensors", ElementType::kF32, {{"w", {1, kNan}}, {"z", {0}}});
  const auto report = CompareNumbers(*a, *b);
  ASSERT_THAT(report, IsOk());
  EXPECT_TRUE(std::isnan(report->tensors[0].max_abs));
  EXPECT_FALSE(report->tensors[0].IsWithin(1e9));
  EXPECT_FALSE(report->tensors[1].IsWithin(1e9));
}

TEST_F(ClosenessTest, TheOrderIsThatOfTheModelThenThatOfNumbers) {
  const std::map<std::string, std::vector<float>> tensors = {
      {"logits", {1}}, {"layer.10", {1}}, {"layer.2", {1}}, {"embedding", {1}}};
  const auto a = File<float>("a.safetensors", ElementType::kF32, tensors);
  const auto b = File<float>("b.safetensors", ElementType::kF32, tensors,
                             {{"order", "layer.2\nlayer.10\nlogits"}});
  EXPECT_THAT(Keys(CompareNumbers(*a, *a).value()),
              ElementsAre("embedding", "layer.2", "layer.10", "logits"));
  EXPECT_THAT(Keys(CompareNumbers(*a, *b).value()),
              ElementsAre("layer.2", "layer.10", "logits", "embedding"));
  EXPECT_THAT(Keys(CompareNumbers(*a, *b, {.prefix = "layer."}).value()),
              ElementsAre("layer.2", "layer.10"));
}

TEST_F(ClosenessTest, ShapesAreCompared) {
  const auto a = File<float>("a.safetensors", ElementType::kF32, {{"w", {1, 2}}});
  const auto b = File<float>("b.safetensors", ElementType::kF32, {{"w", {1}}});
  EXPECT_THAT(CompareNumbers(*a, *b).value().unlike, ElementsAre("w: f32 [2] and f32 [1]"));
}

}  // namespace
}  // namespace hetero
