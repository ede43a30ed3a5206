#include "hetero/data/text/byte_pair.h"

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"

namespace hetero::data {
namespace {

using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

using Merges = std::vector<std::pair<std::string, std::string>>;

ByteVocabulary Bytes() {
  ByteVocabulary vocabulary;
  for (int byte = 0; byte < 256; ++byte) vocabulary[std::string(1, static_cast<char>(byte))] = byte;
  return vocabulary;
}

// Merges the first pair of the lowest rank until none is left.
std::vector<int32_t> NaiveIds(std::string_view word, const ByteVocabulary& vocabulary,
                              const Merges& merges) {
  std::vector<std::string> tokens;
  for (const char c : word) tokens.emplace_back(1, c);
  while (true) {
    size_t best_rank = merges.size(), best = 0;
    for (size_t i = 0; i + 1 < tokens.size(); ++i) {
      for (size_t rank = 0; rank < best_rank; ++rank) {
        if (merges[rank] == std::make_pair(tokens[i], tokens[i + 1])) best_rank = rank, best = i;
      }
    }
    if (best_rank == merges.size()) break;
    tokens[best] += tokens[best + 1];
    tokens.erase(tokens.begin() + static_cast<int64_t>(best) + 1);
  }
  std::vector<int32_t> ids;
  for (const std::string& token : tokens) ids.push_back(vocabulary.at(token));
  return ids;
}

TEST(BytePairTest, MergesAsTheDefinitionSays) {
  std::mt19937_64 random = FreshGenerator();
  for (int round = 0; round < 60; ++round) {
    ByteVocabulary vocabulary = Bytes();
    std::vector<std::string> tokens = {"a", "b", "c"};
    Merges merges;
    for (int i = 0; i < 24; ++i) {
      const std::string& left = tokens[random() % tokens.size()];
      const std::string& right = tokens[random() % tokens.size()];
      const std::pair<std::string, std::string> merge(left, right);
      if (std::ranges::find(merges, merge) != merges.end()) continue;
      merges.push_back(merge);
      if (vocabulary.emplace(left + right, static_cast<int32_t>(vocabulary.size())).second) {
        tokens.push_back(merge.first + merge.second);
      }
    }
    const BytePair pairs = BytePair::Create(vocabulary, merges, false).value();
    for (const size_t size : {1, 2, 7, 30, 48, 49, 160}) {
      std::string word;
      while (word.size() < size) word.push_back("abc"[random() % 3]);
      std::vector<int32_t> ids;
      pairs.Append(word, ids);
      EXPECT_EQ(ids, NaiveIds(word, vocabulary, merges)) << word;
    }
  }
}

TEST(BytePairTest, AWordThatIsATokenIsTakenWholeOnlyWhereAsked) {
  ByteVocabulary vocabulary = Bytes();
  vocabulary["ab"] = 256;
  vocabulary["abc"] = 257;
  const Merges merges = {{"a", "b"}};
  for (const bool whole : {false, true}) {
    std::vector<int32_t> ids;
    BytePair::Create(vocabulary, merges, whole).value().Append("abc", ids);
    EXPECT_EQ(ids, whole ? std::vector<int32_t>({257}) : std::vector<int32_t>({256, 'c'}));
  }
}

TEST(BytePairTest, WhatTheVocabularyLacksIsNamed) {
  ByteVocabulary vocabulary = Bytes();
  EXPECT_THAT(BytePair::Create(vocabulary, {{"a", "b"}}, false),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("merges[0] is \"a\" and \"b\", vocab has no token \"ab\"")));
  vocabulary.erase("\x07");
  EXPECT_THAT(BytePair::Create(vocabulary, {}, false),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("vocab has no token for the byte 0x07")));
}

}  // namespace
}  // namespace hetero::data
