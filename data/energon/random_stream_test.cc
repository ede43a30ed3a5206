#include "hetero/data/energon/random_stream.h"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/data/energon/worker_seed.h"

namespace hetero::data {
namespace {

using ::testing::ElementsAre;

// Numbers of this file: megatron-energon 7.4.1 with torch 2.11.
constexpr uint32_t kSeed = 273211461;

std::vector<uint32_t> Seeds(int64_t offset) {
  std::vector<uint32_t> seeds;
  for (int64_t worker = 0; worker < 8; ++worker) seeds.push_back(WorkerSeed(worker, offset));
  return seeds;
}

TEST(WorkerSeedTest, IsThatOfEnergon) {
  EXPECT_THAT(Seeds(0), ElementsAre(273211461, 3250511459, 2273462765, 3477560568, 174914967,
                                    4179524024, 375574046, 968744797));
  EXPECT_THAT(Seeds(42), ElementsAre(1740599905, 2787106202, 2919446427, 3330401524, 2269698672,
                                     1262879017, 2576196098, 2613993252));
  EXPECT_THAT(Seeds(1234), ElementsAre(4093459092, 761790996, 1160975541, 3873168430, 1835750443,
                                       109952914, 3550392928, 3941875772));
  EXPECT_EQ(WorkerSeed(15, 0), 1778664892);
  EXPECT_EQ(WorkerSeed(16, 0), 837480117);
  EXPECT_EQ(WorkerSeed(127, 0), 1278115156);
  EXPECT_EQ(WorkerSeed(255, 0), 1464560433);
}

TEST(RandomStreamTest, DrawsWhatTorchDraws) {
  RandomStream stream(kSeed);
  std::vector<int64_t> below;
  for (int i = 0; i < 8; ++i) below.push_back(stream.Below(10));
  EXPECT_THAT(below, ElementsAre(0, 0, 3, 2, 9, 5, 8, 5));
  EXPECT_THAT(stream.Permutation(12), ElementsAre(7, 1, 9, 11, 10, 4, 3, 2, 8, 5, 0, 6));
  std::vector<float> unit;
  for (int i = 0; i < 4; ++i) unit.push_back(stream.Unit());
  EXPECT_THAT(unit, ElementsAre(0.5454908609390259f, 0.5623690485954285f, 0.43490689992904663f,
                                0.371418833732605f));
  const std::vector<float> weights = {5.0f / 8, 2.0f / 8, 1.0f / 8};
  std::vector<size_t> chosen;
  for (int i = 0; i < 20; ++i) chosen.push_back(stream.Choice(weights));
  EXPECT_THAT(chosen, ElementsAre(0, 2, 0, 1, 2, 0, 2, 1, 0, 0, 2, 0, 1, 0, 0, 1, 0, 1, 0, 0));
  EXPECT_EQ(stream.num_draws(), 8 + 11 + 4 + 20);
}

TEST(RandomStreamTest, DrawsTwoWordsForLargeBounds) {
  constexpr uint64_t kFirst = 1812855090;
  constexpr uint64_t kSecond = 3096276510;
  constexpr int64_t kBound = int64_t{1} << 28;
  EXPECT_EQ(RandomStream(kSeed).Below(kBound - 1), kFirst % (kBound - 1));
  RandomStream stream(kSeed);
  EXPECT_EQ(stream.Below(kBound + 1), ((kFirst << 32) + kSecond) % (kBound + 1));
  EXPECT_EQ(stream.num_draws(), 2);
}

TEST(RandomStreamTest, DrawsNothingWhereNothingIsOpen) {
  RandomStream stream(kSeed);
  EXPECT_THAT(stream.Permutation(0), ElementsAre());
  EXPECT_THAT(stream.Permutation(1), ElementsAre(0));
  EXPECT_EQ(stream.Choice(std::vector<float>{0.25f}), 0);
  EXPECT_EQ(stream.num_draws(), 0);
}

TEST(RandomStreamTest, ChoosesBehindASumThatIsHitExactly) {
  const auto chosen = [](uint32_t low_bits, const std::vector<float>& weights) {
    return RandomStream::Chosen(static_cast<float>(low_bits) * 0x1p-24f, weights);
  };
  EXPECT_EQ(chosen(0, {0, 1}), 1);
  EXPECT_EQ(chosen(0x800000, {1, 1}), 1);
  EXPECT_EQ(chosen(0x400000, {1, 1, 2}), 1);
  EXPECT_EQ(chosen(0xffffff, {1, 0}), 0);
  EXPECT_EQ(chosen(0xffffff, {3, 5, 0}), 1);
}

TEST(RandomStreamTest, NeverChoosesAWeightOfZero) {
  const uint64_t seed = FreshSeed();
  RandomStream stream(static_cast<uint32_t>(seed));
  const std::vector<float> weights = {0, 1, 0, 0, 3, 0};
  int64_t counts[6] = {};
  constexpr int kDraws = 100000;
  for (int i = 0; i < kDraws; ++i) ++counts[stream.Choice(weights)];
  EXPECT_EQ(counts[1] + counts[4], kDraws);
  // Five standard deviations of a binomial distribution.
  EXPECT_LT(std::abs(counts[1] - kDraws / 4.0), 5 * std::sqrt(kDraws * 0.25 * 0.75));
}

TEST(RandomStreamTest, GoesOnFromANumberOfDraws) {
  const auto seed = static_cast<uint32_t>(FreshSeed());
  RandomStream stream(seed);
  stream.Permutation(1000);
  stream.Below(int64_t{1} << 40);
  RandomStream again(seed, stream.num_draws());
  EXPECT_EQ(again.Permutation(700), stream.Permutation(700));
  EXPECT_EQ(again.num_draws(), stream.num_draws());
}

}  // namespace
}  // namespace hetero::data
