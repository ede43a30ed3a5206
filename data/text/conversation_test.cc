#include "hetero/data/text/conversation.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/batch.h"
#include "hetero/data/file/file.h"
#include "hetero/data/text/load_tokenizer.h"
#include "hetero/data/text/tokenizer.h"

namespace hetero::data {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::string_view kFolder = "data/text/testdata/";

// Takes the longest of its words, again and again.
class WordTokenizer : public Tokenizer {
 public:
  explicit WordTokenizer(std::vector<std::string> words) : words_(std::move(words)) {}

  int64_t vocabulary_size() const override { return static_cast<int64_t>(words_.size()); }
  absl::Status Append(std::string_view text, std::vector<int32_t>& ids) const override {
    while (!text.empty()) {
      size_t id = words_.size(), size = 0;
      for (size_t i = 0; i < words_.size(); ++i) {
        if (text.starts_with(words_[i]) && words_[i].size() > size) {
          id = i;
          size = words_[i].size();
        }
      }
      if (size == 0) return absl::InvalidArgumentError(absl::StrCat("no word begins ", text));
      ids.push_back(static_cast<int32_t>(id));
      text.remove_prefix(size);
    }
    return absl::OkStatus();
  }
  absl::StatusOr<std::string> Decode(std::span<const int32_t> ids) const override {
    std::string text;
    for (const int32_t id : ids) text.append(words_[id]);
    return text;
  }
  std::optional<int32_t> Find(std::string_view token) const override {
    for (size_t i = 0; i < words_.size(); ++i) {
      if (words_[i] == token) return static_cast<int32_t>(i);
    }
    return std::nullopt;
  }
  TokenBounds NumTokens(int64_t num_bytes) const override { return {0, num_bytes}; }

 private:
  std::vector<std::string> words_;
};

std::vector<std::string> Words() {
  return {"<unk>",     "<|im_start|>", "<|im_end|>", "\n",       "system", "user",
          "assistant", "hello",        "hi",         "<image>",  "<img>",  "</img>",
          "<Image>",   "</Image>",     "<think>",    "</think>", " "};
}

Prompt PromptOf(const PromptOptions& options) {
  return Prompt::Create(std::make_shared<WordTokenizer>(Words()), options).value();
}

// Of what an assistant says.
std::string Said(std::string_view content) {
  const EncodedText encoded =
      PromptOf({.think_mode = true})
          .EncodeConversation({{.role = "assistant", .content = std::string(content)}})
          .value();
  return WordTokenizer(Words()).Decode(std::span(encoded.ids).subspan(3)).value();
}

TEST(ConversationTest, WhatAssistantsSayIsTrainedOn) {
  const auto encoded =
      PromptOf({}).EncodeConversation({{"system", ""}, {"user", "hello"}, {"assistant", "hi"}});
  ASSERT_THAT(encoded, IsOk());
  EXPECT_THAT(encoded->ids, ElementsAre(1, 4, 3, 2, 3, 1, 5, 3, 7, 2, 3, 1, 6, 3, 8, 2, 3));
  std::vector<int32_t> labels(14, kIgnoredLabel);
  labels.insert(labels.end(), {8, 2, 3});
  EXPECT_EQ(encoded->labels, labels);
}

TEST(ConversationTest, AnEmptySystemTurnTakesThePlaceOfAnother) {
  const Prompt prompt = PromptOf({.force_empty_system = true});
  const std::vector<int32_t> ids = {1, 4, 3, 2, 3, 1, 5, 3, 7, 2, 3};
  EXPECT_EQ(prompt.EncodeConversation({{"user", "hello"}})->ids, ids);
  EXPECT_EQ(prompt.EncodeConversation({{"system", "hi"}, {"user", "hello"}})->ids, ids);
}

TEST(ConversationTest, ImagesGetTheirTags) {
  const std::vector<Turn> turns = {{"user", "<image>hello<image>"}};
  EXPECT_THAT(PromptOf({}).EncodeConversation(turns)->ids, ElementsAre(1, 5, 3, 9, 7, 9, 2, 3));
  EXPECT_THAT(PromptOf({.image_tag = ImageTag::kInternVl}).EncodeConversation(turns)->ids,
              ElementsAre(1, 5, 3, 10, 9, 11, 7, 10, 9, 11, 2, 3));
  const auto text = PromptOf({.image_tag = ImageTag::kNvlm}).EncodeText("hello<image>");
  ASSERT_THAT(text, IsOk());
  EXPECT_THAT(text->ids, ElementsAre(7, 12, 9, 13));
  EXPECT_EQ(text->labels, text->ids);
}

TEST(ConversationTest, ReasoningHasOneForm) {
  EXPECT_EQ(Said("  hi\n"), "<think></think>hi<|im_end|>\n");
  EXPECT_EQ(Said("<think>hello</think>hi"), "<think>\nhello\n</think>\nhi<|im_end|>\n");
  EXPECT_EQ(Said("<think>\n hello \n</think>\n\nhi "), "<think>\nhello\n</think>\nhi <|im_end|>\n");
  EXPECT_EQ(Said("<think>  </think>hi"), "<think></think>\nhi<|im_end|>\n");
}

TEST(ConversationTest, WhatIsWrongWithATurnIsNamed) {
  const auto wrong = [](std::vector<Turn> turns, std::string_view message) {
    EXPECT_THAT(PromptOf({.think_mode = true}).EncodeConversation(std::move(turns)),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
  };
  wrong({{"user", "hello"}, {"assistant", ""}}, "turn 1: is empty");
  wrong({{"user", ""}}, "turn 0: is empty");
  wrong({{"tool", "hi"}}, "turn 0: has the role \"tool\", must be system, user or assistant");
  wrong({{"assistant", "hi<image>"}}, "turn 0: has an <image>");
  for (const char* content :
       {"<think>hi", "hi</think>", "</think><think>hi", "<think></think><think></think>hi"}) {
    wrong({{"assistant", content}}, "turn 0: has other than one pair of <think> and </think>");
  }
}

TEST(ConversationTest, LabelsAreNotPutWhereIdsDependOnTheTurnsBefore) {
  std::vector<std::string> words = Words();
  words.push_back("\n<|im_start|>user");
  const Prompt prompt = Prompt::Create(std::make_shared<WordTokenizer>(words), {}).value();
  EXPECT_THAT(prompt.EncodeConversation({{"user", "hi"}, {"assistant", "hi"}}), IsOk());
  EXPECT_THAT(prompt.EncodeConversation({{"user", "hi"}, {"user", "hi"}}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("turn 0 has other ids alone than in the conversation")));
  words.push_back("\nhi");
  const Prompt joined = Prompt::Create(std::make_shared<WordTokenizer>(words), {}).value();
  EXPECT_THAT(joined.EncodeConversation({{"assistant", "hi"}}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("turn 0: does not begin with the ids of its role alone")));
}

TEST(ConversationTest, TokensThatTheFormatNeedsAreNamed) {
  std::vector<std::string> words = Words();
  words[9] = "<picture>";
  EXPECT_THAT(Prompt::Create(std::make_shared<WordTokenizer>(words), {}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("the tokenizer has no token <image>")));
}

// testdata/generate.py: through a chat template of transformers, which marks what assistants say.
TEST(ConversationTest, IdsAndMasksAreThoseOfTransformers) {
  const auto tokenizer = LoadTokenizer(absl::StrCat(kFolder, "nemotron.json"));
  ASSERT_THAT(tokenizer, IsOk());
  const Prompt prompt = Prompt::Create(*tokenizer, {}).value();
  EXPECT_EQ(prompt.image_id(), 3);
  EXPECT_EQ(prompt.pad_id(), 0);
  const std::string contents = ReadFile(absl::StrCat(kFolder, "chat.txt")).value();
  std::vector<Turn> turns;
  std::vector<int32_t> ids;
  int num_conversations = 0;
  for (const std::string_view line : absl::StrSplit(contents, '\n', absl::SkipEmpty())) {
    const std::vector<std::string> words = absl::StrSplit(line, ' ');
    std::vector<int32_t> numbers(words.size() - 1);
    if (words[0] == "turn") {
      std::string content;
      ASSERT_TRUE(absl::HexStringToBytes(words[2], &content));
      turns.push_back({.role = words[1], .content = content});
      continue;
    }
    for (size_t i = 0; i < numbers.size(); ++i) {
      ASSERT_TRUE(absl::SimpleAtoi(words[i + 1], &numbers[i]));
    }
    if (words[0] == "ids") {
      ids = numbers;
      continue;
    }
    const auto encoded = prompt.EncodeConversation(std::exchange(turns, {}));
    ASSERT_THAT(encoded, IsOk());
    EXPECT_EQ(encoded->ids, ids);
    for (size_t i = 0; i < ids.size(); ++i) {
      EXPECT_EQ(encoded->labels[i], numbers[i] == 1 ? ids[i] : kIgnoredLabel) << i;
    }
    ++num_conversations;
  }
  EXPECT_EQ(num_conversations, 3);
}

}  // namespace
}  // namespace hetero::data
