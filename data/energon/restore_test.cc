#include <algorithm>
#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/data/energon/loader_options.h"
#include "hetero/data/energon/loader_plan.h"
#include "hetero/data/energon/loader_testing.h"
#include "hetero/data/energon/rank_loader.h"
#include "hetero/data/energon/sample_reference.h"
#include "hetero/data/energon/slice_loader.h"

namespace hetero::data {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

const Numbers kBases = {kFirstBase, kSecondBase, kThirdBase};  // NOLINT: of this test alone

using Plan = std::shared_ptr<const LoaderPlan>;

std::vector<RankLoader> AllRanks(const Plan& plan) {
  std::vector<RankLoader> loaders;
  for (int64_t rank = 0; rank < plan->options().shape.num_ranks; ++rank) {
    loaders.emplace_back(plan, rank);
  }
  return loaders;
}

std::vector<std::string> SaveAll(std::span<const RankLoader> loaders) {
  std::vector<std::string> records;
  for (const RankLoader& loader : loaders) {
    for (std::string& record : loader.Save()) records.push_back(std::move(record));
  }
  return records;
}

LoaderOptions OneSet(LoaderShape shape) { return {.splits = {First()}, .shape = shape}; }

// Of every kind of stage.
std::vector<LoaderOptions> Chains() {
  std::vector<LoaderOptions> chains;
  LoaderOptions one = OneSet({.num_ranks = 1, .num_workers = 2});
  chains.push_back(one);
  one.splits[0].shuffle_over_epochs = 2;
  one.splits[0].samples.excluded = {0, 7, 30, 31};
  one.max_samples_per_sequence = 4;
  one.batch_size = 3;
  chains.push_back(one);
  one.splits[0].shuffle_over_epochs = kWithReplacement;
  one.shuffle_buffer_size = 7;
  one.virtual_epoch_length = 5;
  chains.push_back(one);
  LoaderOptions blend = {.splits = {Shared(First(), 5), Shared(Second(), 2), Shared(Third(), 1)},
                         .mode = BlendMode::kWeights,
                         .shape = {.num_ranks = 1, .num_workers = 3},
                         .shuffle_buffer_size = 5};
  chains.push_back(blend);
  blend.mode = BlendMode::kRepetitions;
  blend.splits[2].share = 0.5;
  chains.push_back(blend);
  blend.repeats = false;
  blend.batch_size = 2;
  chains.push_back(blend);
  blend.is_training = false;
  chains.push_back(blend);
  return chains;
}

TEST(RestoreTest, GoesOnAsIfNothingHadBeenAtAnyStep) {
  for (const LoaderOptions& options : Chains()) {
    const Plan plan = LoaderPlan::Make(options).value();
    for (const int64_t steps : {0, 1, 9, 10, 54, 55, 56, 130}) {
      SCOPED_TRACE(absl::StrCat(Describe(options), steps, " steps"));
      RankLoader loader(plan, 0);
      for (int64_t i = 0; i < steps; ++i) loader.Next();
      const std::vector<std::string> records = loader.Save();
      absl::StatusOr<RankLoader> restored = RankLoader::Restore(plan, 0, records);
      ASSERT_THAT(restored, IsOk());
      EXPECT_EQ(restored->Save(), records);
      for (int i = 0; i < 150; ++i) ASSERT_EQ(restored->Next(), loader.Next()) << i;
    }
  }
}

TEST(RestoreTest, GoesOnAtAFreshStepOfAFreshChain) {
  std::mt19937_64 random = FreshGenerator();
  const auto below = [&](int64_t n) { return static_cast<int64_t>(random() % n); };
  for (int trial = 0; trial < 40; ++trial) {
    LoaderOptions options = {.mode = below(2) == 0 ? BlendMode::kWeights : BlendMode::kRepetitions,
                             .shape = {.num_ranks = 1, .num_workers = below(4)},
                             .seed_offset = below(1000),
                             .num_open_slices = 1 + below(5),
                             .shuffle_buffer_size = below(12),
                             .batch_size = 1 + below(3)};
    if (below(2) == 0) options.max_samples_per_sequence = 1 + below(6);
    for (int64_t i = 0; i <= below(4); ++i) {
      BlendedSplit split = {.samples = SplitOf("set", {4 + below(9), below(9), below(9)})};
      split.share = 1 + static_cast<double>(below(300)) / 100;
      split.shuffle_over_epochs = below(3) == 0 ? kWithReplacement : 1 + below(3);
      options.splits.push_back(split);
    }
    const Plan plan = LoaderPlan::Make(options).value();
    SCOPED_TRACE(Describe(options));
    RankLoader loader(plan, 0);
    for (int64_t i = below(200); i > 0; --i) loader.Next();
    absl::StatusOr<RankLoader> restored = RankLoader::Restore(plan, 0, loader.Save());
    ASSERT_THAT(restored, IsOk());
    for (int i = 0; i < 100; ++i) ASSERT_EQ(restored->Next(), loader.Next()) << i;
  }
}

TEST(RestoreTest, WorkersGoOnInAnyShape) {
  const LoaderShape shapes[] = {{8, 1}, {4, 2}, {2, 4}, {1, 8}};
  for (LoaderOptions options : Chains()) {
    options.virtual_epoch_length = 0;
    // Batches of each worker, as one rank each gives them.
    options.shape = {.num_ranks = 8, .num_workers = 0};
    constexpr int64_t kSaved = 6;
    constexpr int64_t kMore = 12;
    std::vector<std::vector<std::vector<SampleReference>>> expected;
    for (RankLoader& loader : AllRanks(LoaderPlan::Make(options).value())) {
      for (int64_t i = 0; i < kSaved; ++i) loader.Next();
      expected.emplace_back();
      for (int64_t i = 0; i < kMore; ++i) expected.back().push_back(loader.Next());
    }
    if (!options.is_training || !options.repeats) continue;
    for (const LoaderShape& from : shapes) {
      options.shape = from;
      std::vector<RankLoader> loaders = AllRanks(LoaderPlan::Make(options).value());
      for (RankLoader& loader : loaders) {
        for (int64_t i = 0; i < kSaved * from.num_workers; ++i) loader.Next();
      }
      const std::vector<std::string> records = SaveAll(loaders);
      for (const LoaderShape& to : shapes) {
        options.shape = to;
        const Plan plan = LoaderPlan::Make(options).value();
        for (int64_t rank = 0; rank < to.num_ranks; ++rank) {
          absl::StatusOr<RankLoader> loader = RankLoader::Restore(plan, rank, records);
          ASSERT_THAT(loader, IsOk());
          for (int64_t i = 0; i < kMore * to.num_workers; ++i) {
            const int64_t worker = rank * to.num_workers + i % to.num_workers;
            ASSERT_EQ(loader->Next(), expected[worker][i / to.num_workers]);
          }
        }
      }
    }
  }
}

// What ranks of `to` read first when those of `from` have given `steps` batches each.
absl::StatusOr<Numbers> Moved(LoaderShape from, int64_t steps, LoaderShape to, int64_t rank,
                              int64_t num_batches) {
  std::vector<RankLoader> loaders = AllRanks(LoaderPlan::Make(OneSet(from)).value());
  for (RankLoader& loader : loaders) {
    for (int64_t i = 0; i < steps; ++i) loader.Next();
  }
  absl::StatusOr<RankLoader> loader =
      RankLoader::Restore(LoaderPlan::Make(OneSet(to)).value(), rank, SaveAll(loaders));
  if (!loader.ok()) return loader.status();
  return Read(*loader, kBases, num_batches);
}

TEST(RestoreTest, KeepsTheTurnOfTheWorkers) {
  // Energon's own states, moved by its tool.
  EXPECT_THAT(Moved({2, 2}, 4, {1, 4}, 0, 6), IsOkAndHolds(ParseNumbers("2 14 40 50 3 22")));
  // Its tool would begin with the first worker again.
  EXPECT_THAT(Moved({1, 4}, 3, {1, 4}, 0, 4), IsOkAndHolds(ParseNumbers("42 1 21 31")));
  EXPECT_THAT(Moved({1, 4}, 3, {2, 2}, 0, 3), IsOkAndHolds(ParseNumbers("1 21 2")));
  EXPECT_THAT(Moved({1, 4}, 3, {2, 2}, 1, 3), IsOkAndHolds(ParseNumbers("42 31 43")));
  EXPECT_THAT(Moved({1, 4}, 3, {4, 1}, 3, 2), IsOkAndHolds(ParseNumbers("42 43")));
}

TEST(RestoreTest, RefusesTurnsThatAreNone) {
  EXPECT_THAT(Moved({2, 2}, 3, {1, 4}, 0, 1),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("workers 0 to 3 gave 2, 1, 2, 1 batches"),
                             HasSubstr("the same multiple of 4 batches"))));
}

TEST(RestoreTest, SmallerBatchesGoOnWhereLargerOnesStood) {
  LoaderOptions options = OneSet({.num_ranks = 1, .num_workers = 2});
  options.batch_size = 2;
  RankLoader loader(LoaderPlan::Make(options).value(), 0);
  for (int i = 0; i < 4; ++i) loader.Next();
  const std::vector<std::string> records = loader.Save();
  options.batch_size = 1;
  absl::StatusOr<RankLoader> smaller =
      RankLoader::Restore(LoaderPlan::Make(options).value(), 0, records);
  ASSERT_THAT(smaller, IsOk());
  EXPECT_EQ(Read(*smaller, kBases, 4), ParseNumbers("20 52 1 31"));
  EXPECT_THAT(RankLoader::Restore(LoaderPlan::Make(options).value(), 0, smaller->Save()), IsOk());
  options.batch_size = 4;
  EXPECT_THAT(RankLoader::Restore(LoaderPlan::Make(options).value(), 0, records),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("saved with batch_size 2, now it is 4; it may be a divisor")));
}

TEST(RestoreTest, RefusesWhatWasSavedOfSomethingElse) {
  LoaderOptions options = OneSet({.num_ranks = 1, .num_workers = 4});
  options.virtual_epoch_length = 8;
  const std::vector<std::string> records = RankLoader(LoaderPlan::Make(options).value(), 0).Save();
  const auto restore = [&](const LoaderOptions& now) {
    return RankLoader::Restore(LoaderPlan::Make(now).value(), 0, records).status();
  };
  EXPECT_THAT(restore(options), IsOk());
  LoaderOptions other = options;
  other.seed_offset = 7;
  EXPECT_THAT(restore(other),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("saved with \"seed_offset: 0\", now it is \"seed_offset: 7\"")));
  other = options;
  other.splits[0].samples.excluded = {3};
  EXPECT_THAT(restore(other), StatusIs(absl::StatusCode::kFailedPrecondition,
                                       HasSubstr("\"data set 0: shard borders")));
  other = options;
  other.virtual_epoch_length = 4;
  EXPECT_THAT(restore(other),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("choose virtual_epoch_length so that it gives 2")));
  other.shape = {.num_ranks = 2, .num_workers = 2};
  EXPECT_THAT(restore(other), IsOk());
  other.shape = {.num_ranks = 3, .num_workers = 1};
  EXPECT_THAT(restore(other),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("there are 4 records; 3 ranks of 1 workers restore 3")));
}

TEST(RestoreTest, RefusesDamagedRecords) {
  LoaderOptions options = OneSet({.num_ranks = 1, .num_workers = 1});
  options.shuffle_buffer_size = 4;
  const Plan plan = LoaderPlan::Make(options).value();
  RankLoader loader(plan, 0);
  for (int i = 0; i < 20; ++i) loader.Next();
  const std::string record = loader.Save()[0];
  const auto restore = [&](std::string bytes) {
    return RankLoader::Restore(plan, 0, std::vector<std::string>{std::move(bytes)}).status();
  };
  EXPECT_THAT(restore(record), IsOk());
  std::mt19937_64 random = FreshGenerator();
  for (int trial = 0; trial < 200; ++trial) {
    std::string damaged = record;
    damaged[random() % record.size()] ^= static_cast<char>(1 << random() % 8);
    EXPECT_FALSE(restore(damaged).ok());
    EXPECT_FALSE(restore(record.substr(0, random() % record.size())).ok());
  }
  std::string version = record;
  version[version.find('1')] = '2';
  EXPECT_THAT(restore(version), StatusIs(absl::StatusCode::kFailedPrecondition,
                                         HasSubstr("\"hetero loader worker 1\"")));
  EXPECT_THAT(restore(record.substr(0, record.size() - 1)), StatusIs(absl::StatusCode::kDataLoss));
}

}  // namespace
}  // namespace hetero::data
