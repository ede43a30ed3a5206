// Conversations that no run, or not this one, can use.

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/conversation_harness.h"
#include "hetero/data/conversation_source.h"
#include "hetero/data/source.h"
#include "hetero/data/tar/writer.h"
#include "hetero/data/text/conversation.h"
#include "hetero/data/text/tokenizer.h"
#include "hetero/data/webdataset/dataset.h"
#include "hetero/data/webdataset/prepare.h"

namespace hetero::data {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

TEST_F(ConversationSourceTest, PreparationExcludesWhatNoRunCanUse) {
  Write({{{"json", Json(Said("Hello"), "Hi")}},
         {{"json", Json(Shown("png"), "No such image")}},
         {{"json", Json(Shown("png"), "Damaged")}, {"png", Png(0).substr(0, 100)}},
         {{"png", Png(0)}}});
  ASSERT_EQ(report_.excluded.size(), 3);
  EXPECT_EQ(report_.excluded[0].sample, "a.tar/k1");
  EXPECT_THAT(report_.excluded[0].reason,
              HasSubstr("member k1.json: conversation[0]: fragments[0]: names the image \"png\""));
  EXPECT_THAT(report_.excluded[1].reason, HasSubstr("member k2.png: PNG"));
  EXPECT_THAT(report_.excluded[2].reason, HasSubstr("has no member \"json\""));
  EXPECT_EQ(Source(Options())->size(), 1);
}

TEST_F(ConversationSourceTest, WhatDoesNotFitARunNamesTheSample) {
  const auto read = [&](ConversationOptions options, int64_t index) {
    LanguageSample sample;
    return Source(options)->ReadLanguage(index, sample);
  };
  ConversationOptions options = Options();
  options.images->max_count = 1;
  EXPECT_THAT(read(options, 2),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("shard a.tar, sample k2"), HasSubstr("it has 2 images"))));
  options.images.reset();
  EXPECT_THAT(read(options, 1), StatusIs(absl::StatusCode::kInvalidArgument,
                                         HasSubstr("it has 1 images, the run takes at most 0")));
  EXPECT_THAT(read(options, 0), IsOk());
  options.prompt =
      std::make_shared<const Prompt>(Prompt::Create(tokenizer_, {.think_mode = true}).value());
  Write({{{"json", Json(Said("Hello"), "<think>Hi")}}});
  EXPECT_THAT(read(options, 0), StatusIs(absl::StatusCode::kInvalidArgument,
                                         AllOf(HasSubstr("sample k0"), HasSubstr("turn 1"))));
}

TEST_F(ConversationSourceTest, SamplesOfAnotherKindAreRefused) {
  TarWriter writer = TarWriter::Create(root_ / "a.tar").value();
  ASSERT_THAT(writer.Add("k.txt", "grey"), IsOk());
  ASSERT_THAT(writer.Add("k.png", Png(0)), IsOk());
  ASSERT_THAT(writer.Close(), IsOk());
  ASSERT_THAT(PrepareDataset(root_, {.splits = {{"train", {"a.tar"}}}, .fields = {}}), IsOk());
  EXPECT_THAT(
      ConversationSource::Create(Dataset::Open(root_, "train").value(), Options()).status(),
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr("of class CaptioningSample"), HasSubstr("CrudeWebdataset"))));
}

}  // namespace
}  // namespace hetero::data
