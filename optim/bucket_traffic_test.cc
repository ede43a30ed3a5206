#include "hetero/optim/bucket_traffic.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/status.h"
#include "hetero/comm/run_ranks.h"
#include "hetero/optim/testing/rank_rig.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

ParameterTable Table() {
  return ParameterTable::Make(
             {{.name = "w0", .shape = {10, 10}},
              {.name = "norm", .shape = {70}, .partial_over_tp = true, .layer = 1},
              {.name = "w1", .shape = {30, 10}, .layer = 1},
              {.name = "router", .shape = {4, 5}, .partial_over_tp = true, .layer = 2},
              {.name = "frozen", .shape = {9}, .trainable = false, .layer = 2},
              {.name = "experts",
               .shape = {4, 6},
               .gradient_group = GradientGroup::kExpert,
               .layer = 2}})
      .value();
}

std::vector<std::string> TakeCalls(RankRig& rig) {
  std::vector<std::string> names;
  for (const CollectiveCall& call : rig.stream->ledger().collectives()) names.push_back(call.name);
  rig.stream->ledger().Reset();
  return names;
}

constexpr RankOptions kSmallBuckets = {.optimizer = {.buckets = {.bucket_elements = 200}}};

// What a bucket needs is there, it travels, in one order on all ranks.
TEST(BucketTrafficTest, ABucketTravelsWhenTheLastOfItsLayersIsReady) {
  std::vector<std::vector<std::string>> calls(4);
  const Grid grid = MakeGrid({.num_ranks = 4, .tp = 2});
  const auto run = [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
    RankRig rig(Table(), grid, rank, kSmallBuckets, &factory);
    rig.stream->ledger().RecordCollectives(true);
    std::vector<std::string>& told = calls[static_cast<size_t>(rank.value())];
    const auto note = [&](std::string_view after) {
      told.push_back(std::string(after));
      for (std::string& name : TakeCalls(rig)) told.push_back(std::move(name));
    };
    BucketTraffic& traffic = *rig.traffic;
    HETERO_RETURN_IF_ERROR(traffic.Ready(2));
    note("2");
    HETERO_RETURN_IF_ERROR(traffic.Ready(1));
    note("1");
    HETERO_RETURN_IF_ERROR(traffic.AllReady());
    note("all");
    HETERO_RETURN_IF_ERROR(traffic.Reduce());
    note("reduce");
    HETERO_RETURN_IF_ERROR(traffic.Gather());
    note("gather");
    for (const int layer : {0, 1, kLastLayer}) HETERO_RETURN_IF_ERROR(traffic.Needed(layer));
    note("needed");
    return absl::OkStatus();
  };
  EXPECT_THAT(RunRanks(4, run), IsOk());
  // From the last parameter: router and w1 are the first 200 elements, norm and w0 the rest.
  EXPECT_THAT(
      calls[0],
      ElementsAre("2", "language.grad.expert1.bucket0",  //
                  "1", "language.grad.dense0.bucket0.partial2", "language.grad.dense0.bucket0",
                  "all", "language.grad.dense0.bucket1.partial2", "language.grad.dense0.bucket1",
                  "reduce",  //
                  "gather", "language.param.dense0.bucket1", "language.param.dense0.bucket0",
                  "language.param.expert1.bucket0", "needed"));
  for (const std::vector<std::string>& of_rank : calls) EXPECT_EQ(of_rank, calls[0]);
}

TEST(BucketTrafficTest, WithoutOverlapAllOfThemTravelAtTheEnd) {
  const auto run = [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
    RankOptions options = kSmallBuckets;
    options.traffic = {.overlap_gradient_reduce = false, .overlap_parameter_gather = false};
    RankRig rig(Table(), MakeGrid({.num_ranks = 2}), rank, options, &factory);
    rig.stream->ledger().RecordCollectives(true);
    HETERO_RETURN_IF_ERROR(rig.traffic->Ready(1));
    HETERO_RETURN_IF_ERROR(rig.traffic->AllReady());
    const size_t early = TakeCalls(rig).size();
    HETERO_RETURN_IF_ERROR(rig.traffic->Reduce());
    const size_t late = TakeCalls(rig).size();
    return early == 0 && late == 3 ? absl::OkStatus() : absl::InternalError("overlap");
  };
  EXPECT_THAT(RunRanks(2, run), IsOk());
}

// A lane whose samples have nothing for a module still takes part, with zeros.
TEST(BucketTrafficTest, WhatNoBackwardWroteCountsAsZero) {
  const auto run = [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
    RankRig rig(Table(), MakeGrid({.num_ranks = 2}), rank, kSmallBuckets, &factory);
    for (const auto& parameter : rig.store->parameters()) {
      if (parameter->gradient.is_null()) continue;
      std::ranges::fill(parameter->gradient.values<float>(), 1.0f);  // of the step before
      parameter->gradient_written = rank == GlobalRank(0);
    }
    HETERO_RETURN_IF_ERROR(rig.traffic->Reduce());
    for (const FlatGroup& group : rig.store->groups()) {
      for (const FlatSegment& segment : group.segments) {
        for (size_t b = 0; b < group.buckets.buckets().size(); ++b) {
          const ElementRange own = Intersect(group.buckets.Own(b, rank.value()), segment.range);
          for (const float sum : group.gradients.Rows(own.begin, own.count).values<float>()) {
            if (sum != 1) return absl::InternalError(segment.parameter->spec->name);
          }
        }
        if (segment.parameter->gradient_written) return absl::InternalError("not begun anew");
      }
    }
    return absl::OkStatus();
  };
  EXPECT_THAT(RunRanks(2, run), IsOk());
}

TEST(BucketTrafficTest, GroupsOfOneRankMakeNoCall) {
  RankRig rig(Table(), MakeGrid({.num_ranks = 1}), GlobalRank(0), kSmallBuckets);
  rig.stream->ledger().RecordCollectives(true);
  ASSERT_THAT(rig.traffic->AllReady(), IsOk());
  ASSERT_THAT(rig.traffic->Reduce(), IsOk());
  ASSERT_THAT(rig.traffic->Gather(), IsOk());
  EXPECT_THAT(TakeCalls(rig), IsEmpty());
}

}  // namespace
}  // namespace hetero
