#include "hetero/optim/config/from_proto.h"

#include <cstdint>
#include <optional>

#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "hetero/optim/config/optim.pb.h"
#include "hetero/optim/module_options.h"
#include "hetero/optim/weight_decay.h"

namespace hetero {
namespace {

proto::Optimizer Parse(const char* text) {
  proto::Optimizer message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message));
  return message;
}

TEST(ModuleOptionsTest, AModuleWithoutAnEntryHasWhatTheRunHas) {
  const ModuleOptimizerOptions options =
      ModuleOptionsOf(Parse(R"(adamw { beta1: 0.9 beta2: 0.95 epsilon: 1e-8 weight_decay: 0.1 }
                               clip_gradient_norm: 1
                               buckets { num_buckets: 8 pad_for_bus_bandwidth: true }
                               per_module { module: "encoder" clip_share: 0.5 })"),
                      "language");
  EXPECT_EQ(options.adamw.beta2, 0.95);
  EXPECT_EQ(options.adamw.weight_decay, 0.1);
  EXPECT_EQ(options.learning_rate_scale, 1);
  EXPECT_TRUE(options.scheduled_weight_decay);
  EXPECT_EQ(options.clip_share, 0);
  EXPECT_EQ(options.buckets.num_buckets, 8);
  EXPECT_TRUE(options.buckets.pad_for_bus_bandwidth);
  EXPECT_TRUE(options.overlap_gradient_reduce);
  EXPECT_TRUE(options.overlap_parameter_gather);
}

TEST(ModuleOptionsTest, AnEntryChangesWhatItSetsAndBucketsAsAWhole) {
  const ModuleOptimizerOptions options =
      ModuleOptionsOf(Parse(R"(adamw { beta1: 0.9 beta2: 0.95 epsilon: 1e-8 weight_decay: 0.1 }
                               buckets { num_buckets: 8 pad_for_bus_bandwidth: true }
                               per_module { module: "language" }
                               per_module {
                                 module: "encoder"
                                 learning_rate_scale: 0
                                 weight_decay: 0
                                 clip_share: 0.5
                                 buckets { bucket_elements: 0 }
                                 overlap_gradient_reduce: false
                               })"),
                      "encoder");
  EXPECT_EQ(options.adamw.beta1, 0.9);
  EXPECT_EQ(options.adamw.weight_decay, 0);
  EXPECT_EQ(options.learning_rate_scale, 0);
  EXPECT_FALSE(options.scheduled_weight_decay);
  EXPECT_EQ(options.clip_share, 0.5);
  EXPECT_EQ(options.buckets.num_buckets, std::nullopt);
  EXPECT_EQ(options.buckets.bucket_elements, 0);
  EXPECT_FALSE(options.buckets.pad_for_bus_bandwidth);
  EXPECT_FALSE(options.overlap_gradient_reduce);
  EXPECT_TRUE(options.overlap_parameter_gather);
}

TEST(WeightDecayOfTest, RisesToTheDecayOfAdamWOverTheRun) {
  const auto at = [](const char* text, int64_t samples) {
    return WeightDecaySchedule::Make(WeightDecayOf(Parse(text), 1000)).value().At(samples);
  };
  EXPECT_EQ(at("adamw { weight_decay: 0.1 }", 0), 0.1);
  const char* linear =
      "adamw { weight_decay: 0.1 } weight_decay_schedule { style: LINEAR start: 0.02 }";
  EXPECT_DOUBLE_EQ(at(linear, 0), 0.02);
  EXPECT_DOUBLE_EQ(at(linear, 250), 0.04);
  EXPECT_DOUBLE_EQ(at(linear, 1000), 0.1);
  EXPECT_NEAR(at("adamw { weight_decay: 0.1 } weight_decay_schedule { style: COSINE }", 250),
              0.0146447, 1e-7);
}

}  // namespace
}  // namespace hetero
