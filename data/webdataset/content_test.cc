#include "hetero/data/webdataset/content.h"

#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/tar/shard.h"
#include "hetero/data/text/conversation.h"
#include "hetero/data/webdataset/metadata.h"

namespace hetero::data {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;

using Members = std::vector<std::pair<std::string, std::string>>;  // extension and bytes

class ContentTest : public ::testing::Test {
 protected:
  absl::StatusOr<SampleContent> Read(const Members& members, const SampleFields& fields) {
    members_ = members;
    sample_.shard = "a.tar";
    sample_.key = "d/k";
    sample_.parts.clear();
    for (const auto& [extension, bytes] : members_) sample_.parts.push_back({extension, bytes});
    return ReadContent(sample_, fields, nullptr);
  }

  // The places of a conversation's images, and its turns.
  std::pair<std::vector<std::string>, std::vector<Turn>> Conversation(const Members& members) {
    const auto content = Read(members, ConversationFields());
    EXPECT_THAT(content, IsOk());
    std::pair<std::vector<std::string>, std::vector<Turn>> said;
    for (const ContentImage& image : content->images) said.first.push_back(image.place);
    said.second = std::get<std::vector<Turn>>(content->said);
    return said;
  }

  Members members_;
  RawSample sample_;
};

auto Says(std::string_view role, std::string_view content) {
  return AllOf(Field(&Turn::role, role), Field(&Turn::content, content));
}

std::string Chat(std::string_view turns) {
  return absl::StrCat(R"({"conversation": [)", turns, "]}");
}

// One turn of a user with these fragments.
std::string Asked(std::string_view fragments) {
  return Chat(absl::StrCat(R"({"sender": "user", "fragments": [)", fragments, "]}"));
}

TEST_F(ContentTest, FragmentsOfATurnFollowEachOtherAndImagesAreMarkers) {
  const auto [images, turns] = Conversation({{"json", Chat(R"({"sender": "system", "fragments": []},
                        {"sender": "user", "fragments": [{"t": "text", "value": "Compare "},
                                                         {"t": "image", "value": "1.jpg"},
                                                         {"t": "image", "value": "0.png"}]},
                        {"sender": "assistant", "fragments": [{"t": "text", "value": "\u00e9"}]})")},
                                             {"0.png", "zero"},
                                             {"1.jpg", "one"}});
  EXPECT_THAT(images, ElementsAre("member d/k.1.jpg", "member d/k.0.png"));
  EXPECT_THAT(turns, ElementsAre(Says("system", ""), Says("user", "Compare <image><image>"),
                                 Says("assistant", "\xc3\xa9")));
}

TEST_F(ContentTest, AnImageIsNamedByExtensionOrFile) {
  for (const char* value : {"jpg", "d/k.jpg", "photos/boat.jpg", "boat.jpg"}) {
    const auto [images, turns] =
        Conversation({{"json", Asked(absl::StrCat(R"({"t": "image", "value": ")", value, "\"}"))},
                      {"jpg", "pixels"}});
    EXPECT_THAT(images, ElementsAre("member d/k.jpg"));
    EXPECT_THAT(turns, ElementsAre(Says("user", "<image>")));
  }
}

TEST_F(ContentTest, WhatIsWrongWithAConversationIsNamed) {
  const auto wrong = [this](std::string_view json, std::string_view message) {
    EXPECT_THAT(Read({{"json", std::string(json)}, {"jpg", "pixels"}}, ConversationFields()),
                StatusIs(absl::StatusCode::kDataLoss,
                         AllOf(HasSubstr("member d/k.json: "), HasSubstr(message))));
  };
  wrong("{", "is not valid JSON");
  wrong("[]", "has no list \"conversation\"");
  wrong(Chat(""), "has no list \"conversation\"");
  wrong(Chat("1"), "conversation[0]: must have a text \"sender\"");
  wrong(Chat(R"({"sender": "human", "fragments": [{"t": "text", "value": "hi"}]})"),
        "conversation[0]: has the role \"human\", must be system, user or assistant");
  wrong(Asked(""), "conversation[0]: is empty");
  wrong(Asked(R"({"t": "text"})"), "fragments[0]: must have texts \"t\" and \"value\"");
  wrong(Asked(R"({"t": "video", "value": "v.mp4"})"), "fragments[0]: is of type \"video\"");
  wrong(Asked(R"({"t": "image", "value": "boat.png"})"), "names the image \"boat.png\", which no");
  wrong(Asked(R"({"t": "image", "value": "a.jpg"}, {"t": "image", "value": "b.jpg"})"),
        "the member d/k.jpg is taken for \"a.jpg\"");
  wrong(Asked(R"({"t": "text", "value": "<image>"})"), "its text has 1 times <image>, it has 0");
  wrong(Chat(R"({"sender": "assistant", "fragments": [{"t": "image", "value": "jpg"}]})"),
        "has an <image>, which an assistant must not");
  EXPECT_THAT(Read({{"jpg", "pixels"}}, ConversationFields()),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("has no member \"json\"")));
}

TEST_F(ContentTest, AQuestionIsATurnWithItsImageAndTheFirstAnswerOne) {
  const QuestionFields fields = {
      .image = "png,jpg", .context = "json[turns][1][q]", .answers = "txt,json[answers]"};
  const std::string json = R"({"turns": [0, {"q": "What?"}], "answers": ["A boat.", "No"]})";
  const auto content = Read({{"jpg", "pixels"}, {"json", json}}, fields);
  ASSERT_THAT(content, IsOk());
  EXPECT_EQ(content->images.at(0).place, "member d/k.jpg");
  EXPECT_THAT(std::get<std::vector<Turn>>(content->said),
              ElementsAre(Says("user", "<image>\nWhat?"), Says("assistant", "A boat.")));
  const auto marked =
      Read({{"jpg", ""}, {"json", R"({"turns": [0, {"q": "Is <image> it?"}]})"}, {"txt", "Yes"}},
           fields);
  ASSERT_THAT(marked, IsOk());
  EXPECT_THAT(std::get<std::vector<Turn>>(marked->said),
              ElementsAre(Says("user", "Is <image> it?"), Says("assistant", "Yes")));
  for (const auto& [bytes, message] :
       {std::pair("{", "member d/k.json is not valid JSON"),
        std::pair(R"({"turns": [0]})", "has nothing at [turns][1][q]"),
        std::pair(R"({"turns": [0, {"q": 1}]})", "has no text at [turns][1][q]"),
        std::pair(R"({"turns": [0, {"q": "?"}], "answers": [""]})", "assistant: is empty")}) {
    EXPECT_THAT(Read({{"jpg", ""}, {"json", bytes}}, fields),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr(message)));
  }
}

TEST_F(ContentTest, ATextHasNoImage) {
  const auto content = Read({{"txt", "Boats float."}}, TextFields{.text = "txt"});
  ASSERT_THAT(content, IsOk());
  EXPECT_EQ(std::get<std::string>(content->said), "Boats float.");
  EXPECT_THAT(Read({{"txt", "<image>"}}, TextFields{.text = "txt"}),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("1 times <image>, it has 0 images")));
  EXPECT_THAT(Read({{"txt", ""}}, TextFields{.text = "txt"}),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("its text is empty")));
}

}  // namespace
}  // namespace hetero::data
