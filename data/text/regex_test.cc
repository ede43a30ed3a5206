#include "hetero/data/text/regex.h"

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero::data {
namespace {

using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> Matches(std::string_view expression, std::string_view text) {
  const Regex regex = Regex::Compile(expression).value();
  Regex::Scratch scratch;
  std::vector<std::string> matches;
  for (size_t from = 0;;) {
    const std::optional<Regex::Match> match = regex.Find(text, from, scratch).value();
    if (!match.has_value() || match->end == from) return matches;
    matches.emplace_back(text.substr(match->begin, match->end - match->begin));
    from = match->end;
  }
}

TEST(RegexTest, ClassesAreThoseOfUnicode) {
  EXPECT_THAT(Matches("\\s+", "a\u00a0\u3000b\u0085c\u180ed\u200be"),
              ElementsAre("\u00a0\u3000", "\u0085"));
  EXPECT_THAT(Matches("\\d", "5\u0664\u00b2\u2167"), ElementsAre("5", "\u0664"));
  EXPECT_THAT(Matches("\\w+", "a\u0301\u0663_b \u24b6\u00b2"),
              ElementsAre("a\u0301\u0663_b", "\u24b6"));
  EXPECT_THAT(Matches("[^\\s\\d]+|\\W", "ab1 -"), ElementsAre("ab", " ", "-"));
  EXPECT_THAT(Matches("\\p{^L}+", "a1-b"), ElementsAre("1-"));
  // U+3001 is common to scripts, and an extension of Han alone.
  EXPECT_THAT(Matches("\\p{Han}+", "\u706b\u3001\u6c34"), ElementsAre("\u706b", "\u6c34"));
}

TEST(RegexTest, CountsAndGroupsAreThoseOfRuby) {
  EXPECT_THAT(Matches("a{,2}b", "aaab"), ElementsAre("aab"));
  EXPECT_THAT(Matches("(a|b)+?c", "abcac"), ElementsAre("abc", "ac"));
  EXPECT_THAT(Matches("(?i:K)", "k\u212ax"), ElementsAre("k", "\u212a"));
  EXPECT_THAT(Matches(".+", "a\r\nb"), ElementsAre("a\r", "b"));
}

TEST(RegexTest, WhatIsReadDifferentlyIsRefusedByName) {
  const std::vector<std::pair<std::string_view, std::string_view>> cases = {
      {"a\\b", "'\\b' at byte 1"},    {"^a", "'^' at byte 0"},
      {"a$", "'$' at byte 1"},        {"[a&&b]", "'&&' at byte 2"},
      {"[a[b]]", "'[' at byte 2"},    {"a{2}+", "'{2}+' at byte 1"},
      {"a{2}?", "'{2}?' at byte 1"},  {"(?<x>a)", "'(?<x' at byte 0"},
      {"\\h", "'\\h' at byte 0"},     {"[\\W]", "'\\W' at byte 1"},
      {"\\1", "'\\1' at byte 0"},     {"a{b}", "'{b}' at byte 1"},
      {"(?m:a)", "'(?m:' at byte 0"}, {"\\pL", "'\\pL' at byte 0"},
      {"a\\", "'\\' at byte 1"},      {"[a", "a class has no ']'"},
      {"\\p{}", "'\\p{}' at byte 0"}};
  for (const auto& [expression, message] : cases) {
    EXPECT_THAT(Regex::Compile(expression),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
  }
  EXPECT_THAT(Regex::Compile("\\p{Nothing}"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("the expression \"\\p{Nothing}\""), HasSubstr("property"))));
  EXPECT_THAT(Regex::Compile("(a"), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Regex::Compile(std::string(10'000, 'a')),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at most 8192")));
}

TEST(RegexTest, ASearchWithoutEndIsAnErrorThatNamesTheExpression) {
  const Regex regex = Regex::Compile("(a+)+b").value();
  Regex::Scratch scratch;
  EXPECT_THAT(regex.Find(std::string(5000, 'a') + "cb", 0, scratch),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("the expression \"(a+)+b\""), HasSubstr("limit"))));
}

TEST(RegexTest, ALongTextNeedsNoLargeStack) {
  const std::string text = std::string(100'000, 'a') + "b";
  EXPECT_THAT(Matches("(?:a|c)+b", text), ElementsAre(text));
}

}  // namespace
}  // namespace hetero::data
