#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/tools/bench/case.h"
#include "hetero/tools/bench/cases.h"
#include "hetero/tools/bench/measure.h"
#include "hetero/tools/bench/report.h"
#include "nlohmann/json.hpp"

namespace hetero::bench {
namespace {

using ::absl_testing::IsOk;
using ::testing::HasSubstr;

constexpr Device kCpu = {DeviceKind::kCpu};
constexpr SamplerOptions kQuick = {.samples = 3, .sample_ms = 0.1};
constexpr Ceilings kCeilings = {.copy_bytes = 1e10, .gemm_flops = 1e11};

TEST(KernelsTest, EveryCaseIsMeasuredOnTheCpu) {
  for (const Case& one : AllCases(Tiny())) {
    const Row row = Measure(one, kCpu, kCeilings, kQuick);
    ASSERT_THAT(row.status, IsOk()) << one.name;
    EXPECT_GT(row.forward.timing.median_us, 0) << one.name;
    EXPECT_GT(row.forward.floor_us, 0) << one.name;
    EXPECT_GE(row.forward.timing.calls * row.forward.timing.min_us, 1e3 * kQuick.sample_ms)
        << one.name;
    if (!row.forward_backward.has_value()) continue;
    EXPECT_GE(row.forward_backward->bytes, row.forward.bytes) << one.name;
    EXPECT_GT(row.forward_backward->timing.median_us, 0) << one.name;
  }
}

TEST(KernelsTest, CeilingsAreMeasured) {
  const absl::StatusOr<Ceilings> ceilings = MeasureCeilings(Tiny(), kCpu, kQuick);
  ASSERT_THAT(ceilings, IsOk());
  EXPECT_GT(ceilings->copy_bytes, 1e8);
  EXPECT_GT(ceilings->gemm_flops, 1e8);
}

// The first takes 20 us for its FLOPs and 10 us for its bytes, the second 10 us and 30 us.
TEST(KernelsTest, TheFloorOfAnOperationIsTheLongerOfItsTwoTimes) {
  const Case one = {"two_operations", [](Operands&) -> Work {
                      return {.forward = [](ModuleContext& context) {
                        OperationScope first(context.stream, {"a", 2e6, 1e5});
                        OperationScope second(context.stream, {"b", 1e6, 3e5});
                        return absl::OkStatus();
                      }};
                    }};
  const Row row = Measure(one, kCpu, kCeilings, kQuick);
  ASSERT_THAT(row.status, IsOk());
  EXPECT_DOUBLE_EQ(row.forward.floor_us, 20 + 30);
  EXPECT_DOUBLE_EQ(row.forward.flops, 3e6);
  EXPECT_DOUBLE_EQ(row.forward.bytes, 4e5);
}

TEST(KernelsTest, WhatTheDeviceLacksIsSaidInItsRow) {
  const Case one = {"lacking", [](Operands&) -> Work {
                      return {.forward = [](ModuleContext& context) {
                        OperationScope scope(context.stream, {"lacking", 1, 1});
                        return scope.launches() ? absl::UnimplementedError("not on this device")
                                                : absl::OkStatus();
                      }};
                    }};
  const Row row = Measure(one, kCpu, kCeilings, kQuick);
  EXPECT_TRUE(absl::IsUnimplemented(row.status)) << row.status;
  EXPECT_THAT(Line(row), HasSubstr("not on this device"));
  const RunDescription run = {.device = kCpu, .sizes = Tiny(), .ceilings = kCeilings};
  const nlohmann::json json = nlohmann::json::parse(ToJson(run, std::vector<Row>{row}));
  EXPECT_THAT(json["rows"][0]["status"].get<std::string>(), HasSubstr("not on this device"));
}

TEST(KernelsTest, TextAndJsonHoldTheNumbers) {
  Row row = {.name = "ssd"};
  row.forward = {.timing = {.median_us = 200,
                            .min_us = 190,
                            .max_us = 210,
                            .queue_us = 44,
                            .samples = 15,
                            .calls = 100},
                 .flops = 4e9,
                 .bytes = 6e7,
                 .floor_us = 150};
  row.peak_bytes = 3 << 20;
  EXPECT_THAT(Line(row),
              testing::AllOf(HasSubstr("ssd "), HasSubstr(" 200.0 "), HasSubstr(" 10.0 "),
                             HasSubstr(" 44.0 "), HasSubstr(" 60.0 "), HasSubstr(" 4.0 "),
                             HasSubstr(" 300 "), HasSubstr(" 20.0 "), HasSubstr(" 75.0 "),
                             HasSubstr(" 3.0")));
  const RunDescription run = {.device = kCpu, .sizes = Tiny(), .ceilings = kCeilings};
  const nlohmann::json json = nlohmann::json::parse(ToJson(run, std::vector<Row>{row}));
  EXPECT_EQ(json["copy_bytes_per_second"], 1e10);
  const nlohmann::json& forward = json["rows"][0]["forward"];
  EXPECT_EQ(forward["median_us"], 200);
  EXPECT_EQ(forward["max_us"], 210);
  EXPECT_EQ(forward["bytes"], 6e7);
  EXPECT_EQ(forward["share_of_floor"], 0.75);
  EXPECT_FALSE(json["rows"][0].contains("forward_backward"));
}

// Shapes and types of the large preset as a GPU takes them, without one.
TEST(KernelsTest, TheLargePresetFitsAGpu) {
  for (const Case& one : AllCases(Nemotron20L())) {
    SCOPED_TRACE(one.name);
    Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
    Arena activations = Arena::Counting(MemoryLabel::kActivations);
    Stream stream({.kind = DeviceKind::kShapeOnly, .predicts = DeviceKind::kCuda}, workspace);
    Operands operands(stream, 1);
    const absl::StatusOr<Work> work = one.make(operands);
    ASSERT_THAT(work, IsOk());
    ModuleContext context = {.stream = stream, .activations = activations};
    EXPECT_THAT(work->forward(context), IsOk());
    if (work->forward_backward == nullptr) continue;
    EXPECT_THAT(work->forward_backward(context), IsOk());
  }
}

}  // namespace
}  // namespace hetero::bench
