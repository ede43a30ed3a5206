#include "hetero/data/energon/rank_loader.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/energon/loader_options.h"
#include "hetero/data/energon/loader_plan.h"
#include "hetero/data/energon/loader_testing.h"
#include "hetero/data/energon/slice_loader.h"

namespace hetero::data {
namespace {

using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Numbers of this file that are no law: megatron-energon 7.4.1.

const Numbers kBases = {kFirstBase, kSecondBase, kThirdBase};  // NOLINT: of this test alone

RankLoader Loader(const LoaderOptions& options, int64_t rank) {
  return RankLoader(LoaderPlan::Make(options).value(), rank);
}

LoaderOptions OneSet(int64_t num_ranks, int64_t num_workers = 0) {
  return {.splits = {First()}, .shape = {.num_ranks = num_ranks, .num_workers = num_workers}};
}

// Whether a rank begins with these numbers, batches of one.
void ExpectNumbers(const LoaderOptions& options, int64_t rank, std::string_view expected) {
  RankLoader loader = Loader(options, rank);
  const Numbers numbers = ParseNumbers(expected);
  const int64_t num_batches =
      std::ssize(numbers) - std::count(numbers.begin(), numbers.end(), kEnd);
  Numbers read = Read(loader, kBases, num_batches);
  if (numbers.back() == kEnd) {
    EXPECT_TRUE(loader.Next().empty());
    read.push_back(kEnd);
  }
  EXPECT_EQ(read, numbers) << "rank " << rank;
}

TEST(OneDataSetTest, IsReadInEnergonsOrder) {
  ExpectNumbers(OneSet(1), 0,
                "10 40 11 20 50 41 42 30 31 43 0 1 21 32 51 52 33 34 53 44 35 45 46 54 47 48 12 2 "
                "49 3 22 36 13 23 37 24 14 15 25 16 38 39 17 4 26 18 19 5 6 27 7 28 8 9 29 40 10 "
                "41 20 30");
  ExpectNumbers(OneSet(2), 0,
                "10 11 12 0 20 1 21 13 22 23 14 15 24 2 3 25 16 17 18 19 4 26 27 5 6 7 8 9 0 10");
  ExpectNumbers(OneSet(2), 1,
                "50 30 51 40 52 31 32 28 53 33 41 34 35 54 36 42 43 37 29 38 44 45 46 39 47 48 49 "
                "30 40 41");
  ExpectNumbers(OneSet(4), 1,
                "20 21 14 22 15 23 16 24 25 17 18 26 19 27 20 14 21 22 15 23 16 24 25 26 17 18 19 "
                "27 20 14");
}

TEST(OneDataSetTest, SettingsOfItsSlices) {
  LoaderOptions options = OneSet(1);
  options.max_samples_per_sequence = 5;
  ExpectNumbers(options, 0,
                "15 16 50 0 20 10 11 30 1 45 46 51 52 47 17 53 18 21 48 22 19 35 12 23 5 25 2 40 "
                "26 3 31 54 4 32 36 27 28 37 6 33 38 49 7 41 29 13 39 14 42 43 44 24 34 8 9 30 45 "
                "35 10 50");
  options = OneSet(1);
  options.splits[0].shuffle_over_epochs = 2;
  ExpectNumbers(options, 0,
                "20 40 40 0 0 1 10 41 10 11 41 42 12 21 43 22 1 13 2 23 30 30 3 31 11 14 31 12 42 "
                "24 43 44 25 44 20 21 45 50 13 45");
  options.splits[0].shuffle_over_epochs = kWithReplacement;
  ExpectNumbers(options, 0,
                "0 20 30 31 10 40 30 11 20 31 0 50 12 21 22 30 1 23 2 21 13 31 22 32 1 41 42 24 43 "
                "50 0 32 30 2 44 33 20 32 14 0");
  options = OneSet(1);
  options.seed_offset = 42;
  ExpectNumbers(options, 0,
                "10 20 21 40 41 42 22 23 11 43 24 0 25 30 1 31 26 27 32 28 12 13 33 50 2 14 15 29 "
                "16 51 44 52 45 34 3 35 36 53 17 18 37 38 19 4 54 5 6 39 46 47 7 48 8 9 49 30 10 "
                "31 32 40");
  options = OneSet(1);
  options.splits[0].samples.subset = {.first = 11, .count = 22};
  ExpectNumbers(options, 0,
                "20 21 22 11 30 12 23 24 25 31 13 26 32 14 15 27 28 29 16 17 18 19 20 21 22 23 24 "
                "11 30 25 31");
  options = OneSet(1);
  options.shuffle_buffer_size = 10;
  ExpectNumbers(options, 0,
                "10 40 41 50 32 43 51 0 30 1 34 21 35 45 31 46 33 54 11 52 44 22 53 48 36 12 49 42 "
                "15 23 14 47 13 2 4 17 24 37 20 18");
  options = OneSet(1);
  options.splits[0].shuffle_over_epochs = std::nullopt;
  options.num_open_slices = 1;
  RankLoader loader = Loader(options, 0);
  const Numbers numbers = Read(loader, kBases, 56);
  for (int64_t i = 0; i < 56; ++i) EXPECT_EQ(numbers[i], i % 55);
}

TEST(SliceLoaderTest, StateAfterTenSamples) {
  const WorkerSlices slices = {.borders = {0, 10, 20, 30, 40, 50, 55}};
  SliceLoader loader(slices, SliceOrder(), /*seed=*/273211461);
  for (int i = 0; i < 10; ++i) loader.Next();
  const SliceLoaderState state = loader.state();
  EXPECT_EQ(state.num_draws, 15);
  EXPECT_THAT(state.pending, ElementsAre());
  const std::vector<OpenSlice> open = {{0, 0}, {1, 12}, {3, 32}, {5, 51}, {2, 21}, {4, 44}};
  ASSERT_EQ(state.open.size(), 16);
  EXPECT_TRUE(std::equal(open.begin(), open.end(), state.open.begin()));
  for (size_t i = open.size(); i < state.open.size(); ++i) EXPECT_EQ(state.open[i], OpenSlice());
}

LoaderOptions BlendOptions(int64_t num_ranks) {
  return {.splits = {Shared(First(), 5.0 / 8), Shared(Second(), 2.0 / 8), Shared(Third(), 1.0 / 8)},
          .mode = BlendMode::kWeights,
          .shape = {.num_ranks = num_ranks, .num_workers = 0}};
}

TEST(BlendTest, IsReadInEnergonsOrder) {
  ExpectNumbers(BlendOptions(1), 0,
                "10 40 11 20 100 50 210 41 101 42 102 240 30 31 211 43 0 103 1 21 32 51 52 33 220 "
                "34 104 250 53 241 105 44 35 242 45 106 46 54 100 47 101 48 12 102 2 103 104 49");
  ExpectNumbers(BlendOptions(2), 1,
                "50 30 51 250 40 103 52 104 31 32 105 106 28 53 33 41 230 34 103 104 35 251 54 240 "
                "105 106 36 42 43 37 103 29 38 44 104 252");
  ExpectNumbers(BlendOptions(32), 0, "0 1 0 1 0 1 200 0 1 0 201 200 1 0 201 1");
  ExpectNumbers(BlendOptions(32), 3, "206 6 6 206 6 6 206 6 6 206 206 100 6 6 100 206");
  ExpectNumbers(BlendOptions(32), 16, "28 29 28 29 28 29 28 228 29 28 29 28 29 28 29 28 229 29");
  LoaderOptions shuffled = BlendOptions(1);
  shuffled.shuffle_buffer_size = 5;
  ExpectNumbers(shuffled, 0,
                "10 40 50 100 101 11 42 20 240 31 102 43 211 0 103 30 32 41 210 51 33 34 52 104 "
                "220 53 105 21 35 1 44 241");
  // {{ds1: 1, ds2: 3}: 3, ds3: 1}
  LoaderOptions nested = BlendOptions(1);
  nested.splits[0].share = 0.25 * 3 / 4;
  nested.splits[1].share = 0.75 * 3 / 4;
  nested.splits[2].share = 0.25;
  ExpectNumbers(nested, 0,
                "10 100 101 102 103 104 210 105 240 106 211 220 100 101 250 40 11 241 102 103 104 "
                "105 106 100 242 101 230 231 102 243 200 103");
}

TEST(BlendTest, CutsSlicesOfEachDataSet) {
  const auto slices = [](int64_t ranks, int64_t rank) {
    const std::shared_ptr<const LoaderPlan> plan = LoaderPlan::Make(BlendOptions(ranks)).value();
    std::vector<Numbers> borders;
    for (size_t i = 0; i < 3; ++i) borders.push_back(plan->Slices(i, rank).borders);
    return borders;
  };
  EXPECT_THAT(slices(2, 1), ElementsAre(ElementsAre(28, 30, 40, 50, 55), ElementsAre(3, 7),
                                        ElementsAre(28, 30, 40, 50, 55)));
  EXPECT_THAT(slices(32, 3), ElementsAre(ElementsAre(6, 7), ElementsAre(0, 1), ElementsAre(6, 7)));
  EXPECT_THAT(slices(32, 16),
              ElementsAre(ElementsAre(28, 30), testing::SizeIs(1), ElementsAre(28, 30)));
}

TEST(BlendTest, TakesDataSetsByTheirWeights) {
  LoaderOptions options = BlendOptions(1);
  RankLoader loader = Loader(options, 0);
  constexpr int64_t kDraws = 1'000'000;
  std::map<int64_t, int64_t> counts;
  for (int64_t i = 0; i < kDraws; ++i) ++counts[loader.Next()[0].data_set];
  for (const auto& [data_set, count] : counts) {
    const double p = options.splits[data_set].share;
    EXPECT_LT(std::abs(count - p * kDraws), 4 * std::sqrt(kDraws * p * (1 - p))) << data_set;
  }
}

LoaderOptions EpochizedOptions(int64_t num_ranks) {
  return {.splits = {Shared(Second(), 2), Shared(Third(), 0.5)},
          .mode = BlendMode::kRepetitions,
          .shape = {.num_ranks = num_ranks, .num_workers = 0},
          .repeats = false};
}

TEST(EpochizedBlendTest, IsReadInEnergonsOrder) {
  const Numbers bases = {kSecondBase, kThirdBase};
  RankLoader loader = Loader(EpochizedOptions(1), 0);
  EXPECT_EQ(Read(loader, bases, 41),
            ParseNumbers("100 210 240 211 220 101 250 102 241 242 230 231 243 200 201 103 104 221 "
                         "232 251 252 233 234 253 244 235 245 246 254 247 248 105 106 212 100 101 "
                         "102 103 104 105 106"));
  EXPECT_TRUE(loader.Next().empty());
  EXPECT_EQ(Read(loader, bases, 7), ParseNumbers("202 249 203 222 236 100 213"));

  loader = Loader(EpochizedOptions(2), 1);
  EXPECT_EQ(Read(loader, bases, 20),
            ParseNumbers("104 105 250 230 106 251 240 252 104 105 231 232 106 227 253 233 241 234 "
                         "235 254"));
  EXPECT_TRUE(loader.Next().empty());
}

TEST(EpochizedBlendTest, FinishesACutEpochInALaterPass) {
  RankLoader loader = Loader(EpochizedOptions(1), 0);
  std::vector<std::pair<int64_t, int64_t>> passes;
  for (int pass = 0; pass < 7; ++pass) {
    int64_t counts[2] = {};
    for (auto batch = loader.Next(); !batch.empty(); batch = loader.Next()) {
      ++counts[batch[0].data_set];
    }
    passes.emplace_back(counts[0], counts[1]);
  }
  using ::testing::Pair;
  EXPECT_THAT(passes, ElementsAre(Pair(14, 27), Pair(14, 27), Pair(14, 1), Pair(14, 27),
                                  Pair(14, 27), Pair(14, 1), Pair(14, 27)));
}

// Sizes of the first passes over ten samples.
std::vector<int64_t> PassSizes(double repetitions, int num_passes) {
  RankLoader loader = Loader({.splits = {Shared({.samples = SplitOf("ten", {10})}, repetitions)},
                              .mode = BlendMode::kRepetitions,
                              .repeats = false},
                             0);
  std::vector<int64_t> sizes;
  for (int pass = 0; pass < num_passes; ++pass) {
    int64_t size = 0;
    while (!loader.Next().empty()) ++size;
    sizes.push_back(size);
  }
  return sizes;
}

TEST(EpochizedBlendTest, SizesOfPasses) {
  EXPECT_THAT(PassSizes(1.5, 4), ElementsAre(15, 10, 10, 10));
  EXPECT_THAT(PassSizes(0.7, 4), ElementsAre(7, 3, 7, 3));
  EXPECT_THAT(PassSizes(0.3, 4), ElementsAre(3, 3, 3, 1));
  EXPECT_THAT(PassSizes(2.3, 3), ElementsAre(22, 20, 20));
  EXPECT_THAT(PassSizes(1, 2), ElementsAre(10, 10));
}

TEST(ValidationTest, IsOnePassInOrder) {
  LoaderOptions options = {.splits = {Second()}, .is_training = false};
  const Numbers bases = {kSecondBase};
  RankLoader loader = Loader(options, 0);
  EXPECT_EQ(Read(loader, bases, 7), ParseNumbers("100 101 102 103 104 105 106"));
  EXPECT_TRUE(loader.Next().empty());
  options.shape = {.num_ranks = 2, .num_workers = 2};
  loader = Loader(options, 0);
  EXPECT_EQ(Read(loader, bases, 4), ParseNumbers("100 102 101 103"));
  EXPECT_TRUE(loader.Next().empty());
  loader = Loader(options, 1);
  EXPECT_EQ(Read(loader, bases, 3), ParseNumbers("104 106 105"));
  EXPECT_TRUE(loader.Next().empty());
  EXPECT_EQ(Read(loader, bases, 1), ParseNumbers("104"));
}

TEST(RotationTest, GivesABatchOfEachWorker) {
  ExpectNumbers(OneSet(1, 2), 0, "10 50 11 30 12 51 0 40 20 52 1 31");
  ExpectNumbers(OneSet(1, 4), 0, "0 20 30 42 1 21 31 43 2 14 40 50 3 22 32 44");
  ExpectNumbers(OneSet(2, 2), 0, "0 20 1 21 2 14 3 22");
  ExpectNumbers(OneSet(2, 2), 1, "30 42 31 43 40 50 32 44");
  ExpectNumbers(OneSet(4, 1), 0, "0 1 2 3");
  ExpectNumbers(OneSet(4, 1), 1, "20 21 14 22");
  ExpectNumbers(OneSet(4, 1), 2, "30 31 40 32");
  ExpectNumbers(OneSet(4, 1), 3, "42 43 50 44");
  ExpectNumbers(OneSet(1, 8), 0,
                "0 10 14 21 30 35 42 50 1 11 15 22 31 36 43 49 2 7 16 23 32 37 44 51");
  ExpectNumbers(OneSet(4, 2), 0, "0 10 1 11 2 7");
  ExpectNumbers(OneSet(4, 2), 1, "14 21 15 22 16 23");
  ExpectNumbers(OneSet(4, 2), 2, "30 35 31 36 32 37");
  ExpectNumbers(OneSet(4, 2), 3, "42 50 43 49 44 51");
  ExpectNumbers(OneSet(2, 4), 1, "30 35 42 50 31 36 43 49 32 37 44 51");
}

TEST(RotationTest, BatchesAreOfOneWorker) {
  LoaderOptions options = OneSet(1, 2);
  options.batch_size = 2;
  RankLoader loader = Loader(options, 0);
  EXPECT_EQ(Read(loader, kBases, 6), ParseNumbers("10 11 50 30 12 0 51 40 20 1 52 31"));
}

TEST(RotationTest, LastBatchIsPartOfAPassUnlessDropped) {
  LoaderOptions options = {.splits = {Second()}, .is_training = false, .batch_size = 3};
  RankLoader loader = Loader(options, 0);
  EXPECT_EQ(Read(loader, {0}, 3), ParseNumbers("0 1 2 3 4 5 6"));
  options.drops_last_batch = true;
  loader = Loader(options, 0);
  EXPECT_EQ(Read(loader, {0}, 4), ParseNumbers("0 1 2 3 4 5 / 0 1 2 3 4 5"));
}

TEST(VirtualEpochTest, BeginsWithTheFirstWorker) {
  LoaderOptions options = OneSet(1, 2);
  options.virtual_epoch_length = 5;
  ExpectNumbers(options, 0, "10 50 11 30 12 / 0 51 20 40 1 / 21 52 13 31 22 /");
  options.shape.num_workers = 0;
  ExpectNumbers(options, 0, "10 40 11 20 50 / 41 42 30 31 43 / 0 1 21 32 51 /");
  options.shape = {.num_ranks = 2, .num_workers = 2};
  options.virtual_epoch_length = 6;
  ExpectNumbers(options, 0, "0 20 1 21 2 14 / 3 22 4 15 10 23 /");
  ExpectNumbers(options, 1, "30 42 31 43 40 50 / 32 44 33 45 34 51 /");
}

TEST(ExcludedTest, CountInTheSplitAndAreNotGiven) {
  LoaderOptions options = OneSet(4);
  options.splits[0].samples.excluded = {3, 14, 15, 54};
  std::vector<int64_t> seen;
  for (int64_t rank = 0; rank < 4; ++rank) {
    const std::shared_ptr<const LoaderPlan> plan = LoaderPlan::Make(options).value();
    const WorkerSlices slices = plan->Slices(0, rank);
    RankLoader loader(plan, rank);
    const Numbers numbers =
        Read(loader, kBases, slices.num_samples() - std::ssize(slices.excluded));
    seen.insert(seen.end(), numbers.begin(), numbers.end());
  }
  std::sort(seen.begin(), seen.end());
  Numbers expected;
  for (int64_t i = 0; i < 55; ++i) {
    if (i != 3 && i != 14 && i != 15 && i != 54) expected.push_back(i);
  }
  EXPECT_EQ(seen, expected);
}

struct Refusal {
  std::function<void(LoaderOptions&)> change;
  std::string_view message;
};

TEST(LoaderPlanTest, RefusalsNameFieldAndValue) {
  const Refusal refusals[] = {
      {[](LoaderOptions& o) { o.splits.clear(); }, "splits is empty"},
      {[](LoaderOptions& o) { o.mode = BlendMode::kNone; }, "splits has 3 entries"},
      {[](LoaderOptions& o) { o.repeats = false; }, "repeats is false; a blend by weights"},
      {[](LoaderOptions& o) { o.splits[1].share = 0; }, "splits[1] (ds2): share is 0"},
      {[](LoaderOptions& o) { o.splits[1].share = NAN; }, "splits[1] (ds2): share is nan"},
      {[](LoaderOptions& o) { o.splits[0].shuffle_over_epochs = 0; },
       "splits[0] (ds1): shuffle_over_epochs is 0; it may be 1 to"},
      {[](LoaderOptions& o) { o.splits[0].shuffle_over_epochs = std::nullopt; },
       "shuffle_over_epochs is unset and num_open_slices 16"},
      {[](LoaderOptions& o) { o.splits[0].samples.subset = {.first = 50, .count = 6}; },
       "samples.subset is [50, 56); it may be within [0, 55)"},
      {[](LoaderOptions& o) { o.batch_size = 0; }, "batch_size is 0"},
      {[](LoaderOptions& o) { o.shape.num_ranks = 0; }, "shape.num_ranks is 0"},
      {[](LoaderOptions& o) { o.max_samples_per_sequence = 0; }, "max_samples_per_sequence is 0"},
  };
  for (const auto& [change, message] : refusals) {
    LoaderOptions options = BlendOptions(1);
    change(options);
    EXPECT_THAT(LoaderPlan::Make(options),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
  }
}

TEST(LoaderPlanTest, NoWorkerIsWithoutSamples) {
  // The reference finds out when the worker is asked for a batch, on its rank alone.
  EXPECT_THAT(LoaderPlan::Make({.splits = {Second()}, .shape = {.num_ranks = 8}}),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("worker 7 of 8 has no sample to read"),
                             HasSubstr("the data sets have 7"))));
  ExpectNumbers({.splits = {First(), Second()},
                 .mode = BlendMode::kWeights,
                 .shape = {.num_ranks = 1, .num_workers = 55}},
                0, "0");
  LoaderOptions excluded = {.splits = {Second()}, .shape = {.num_ranks = 7}};
  excluded.splits[0].samples.excluded = {5};
  EXPECT_THAT(LoaderPlan::Make(excluded),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("worker 5 of 7 reads samples [5, 6) of ds2, which are all")));
  EXPECT_THAT(
      LoaderPlan::Make({.splits = {Shared(Second(), 0.1)}, .mode = BlendMode::kRepetitions}),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("repeated in part")));
}

TEST(LoaderPlanTest, SevenSamplesAreReadBySevenWorkers) {
  for (int64_t rank = 0; rank < 7; ++rank) {
    RankLoader loader = Loader({.splits = {Second()}, .shape = {.num_ranks = 7}}, rank);
    EXPECT_EQ(Read(loader, {0}, 3), Numbers({rank, rank, rank}));
  }
}

}  // namespace
}  // namespace hetero::data
