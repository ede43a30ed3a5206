// Ids and decoded texts of the reference implementations: testdata/generate.py made them.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/file/file.h"
#include "hetero/data/text/load_tokenizer.h"
#include "hetero/data/text/tokenizer.h"
#include "hetero/data/text/utf8.h"

namespace hetero::data {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;

constexpr std::string_view kFolder = "data/text/testdata/";

struct Encoded {
  std::string text;
  std::vector<int32_t> ids;
  std::string decoded;  // where the bytes of the ids are no UTF-8, with U+FFFD
};

struct Golden {
  std::string file;
  std::vector<Encoded> texts;
};

std::string Utf8(std::string_view text) {
  std::string storage;
  return std::string(ToUtf8(text, storage));
}

std::string Unhexed(std::string_view hex) {
  std::string bytes;
  if (!absl::HexStringToBytes(hex, &bytes)) ADD_FAILURE() << hex;
  return bytes;
}

std::vector<Golden> ReadGoldens() {
  const std::string contents = ReadFile(absl::StrCat(kFolder, "expected.txt")).value();
  std::vector<std::string> texts;
  std::vector<Golden> goldens;
  for (const std::string_view line : absl::StrSplit(contents, '\n', absl::SkipEmpty())) {
    const std::pair<std::string_view, std::string_view> field =
        absl::StrSplit(line, absl::MaxSplits(' ', 1));
    const auto& [name, value] = field;
    if (name == "text") {
      texts.push_back(Unhexed(value));
    } else if (name == "tokenizer") {
      goldens.push_back({.file = std::string(value), .texts = {}});
    } else if (name == "ids") {
      std::vector<Encoded>& of = goldens.back().texts;
      of.push_back({.text = texts[of.size()], .ids = {}, .decoded = {}});
      for (const std::string_view word : absl::StrSplit(value, ' ', absl::SkipEmpty())) {
        int32_t id;
        if (!absl::SimpleAtoi(word, &id)) ADD_FAILURE() << word;
        of.back().ids.push_back(id);
      }
    } else {
      Encoded& last = goldens.back().texts.back();
      last.decoded = value == "=" ? Utf8(last.text) : Unhexed(value);
    }
  }
  return goldens;
}

class TokenizerGoldenTest : public testing::TestWithParam<Golden> {};

TEST_P(TokenizerGoldenTest, IdsAndTextsAreThoseOfTheReference) {
  const auto tokenizer = LoadTokenizer(absl::StrCat(kFolder, GetParam().file));
  ASSERT_THAT(tokenizer, IsOk());
  for (const Encoded& encoded : GetParam().texts) {
    SCOPED_TRACE(absl::CHexEscape(encoded.text));
    EXPECT_THAT(Encode(**tokenizer, encoded.text), IsOkAndHolds(encoded.ids));
    EXPECT_LE(encoded.ids.size(), (*tokenizer)->NumTokens(encoded.text.size()).most);
    for (const int32_t id : encoded.ids) EXPECT_LT(id, (*tokenizer)->vocabulary_size());
    const auto decoded = (*tokenizer)->Decode(encoded.ids);
    ASSERT_THAT(decoded, IsOk());
    EXPECT_EQ(Utf8(*decoded), encoded.decoded);
  }
}

INSTANTIATE_TEST_SUITE_P(Tokenizers, TokenizerGoldenTest, testing::ValuesIn(ReadGoldens()),
                         [](const auto& info) {
                           return absl::StrReplaceAll(info.param.file, {{".", "_"}});
                         });

}  // namespace
}  // namespace hetero::data
