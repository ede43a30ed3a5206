#ifndef HETERO_DATA_CONVERSATION_HARNESS_H_
#define HETERO_DATA_CONVERSATION_HARNESS_H_

// A data set of conversations, and sources of it.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/conversation_source.h"
#include "hetero/data/image/codec.h"
#include "hetero/data/image/image.h"
#include "hetero/data/tar/writer.h"
#include "hetero/data/text/conversation.h"
#include "hetero/data/text/load_tokenizer.h"
#include "hetero/data/text/tokenizer.h"
#include "hetero/data/webdataset/dataset.h"
#include "hetero/data/webdataset/metadata.h"
#include "hetero/data/webdataset/prepare.h"

namespace hetero::data {

inline constexpr int32_t kPlaceholder = 3;  // "<image>" of the tokenizer

inline std::string Json(std::string_view user, std::string_view assistant) {
  return absl::StrFormat(
      R"({"conversation": [{"sender": "user", "fragments": [%s]},)"
      R"({"sender": "assistant", "fragments": [{"t": "text", "value": "%s"}]}]})",
      user, assistant);
}

inline std::string Shown(std::string_view member) {
  return absl::StrFormat(R"({"t": "image", "value": "%s"})", member);
}

inline std::string Said(std::string_view text) {
  return absl::StrFormat(R"({"t": "text", "value": "%s"})", text);
}

inline Image Grey(ImageSize size, int seed) {
  Image image;
  image.Reshape(size, 1);
  for (size_t p = 0; p < image.pixels.size(); ++p) {
    image.pixels[p] =
        static_cast<uint8_t>((p + 97 * static_cast<size_t>(seed)) * 2654435761u >> 24);
  }
  return image;
}

// Samples: a text alone, one image, two images with text between, a text of many words.
class ConversationSourceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = std::filesystem::path(::testing::TempDir()) /
            ::testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(root_);
    std::filesystem::create_directories(root_);
    tokenizer_ = LoadTokenizer("data/text/testdata/nemotron.json").value();
    prompt_ = std::make_shared<const Prompt>(
        Prompt::Create(tokenizer_, {.image_tag = ImageTag::kInternVl}).value());
    std::string many;
    for (int i = 0; i < 40; ++i) absl::StrAppend(&many, "word ", i, " ");
    Write({{{"json", Json(Said("Hello there"), "Hi")}},
           {{"json", Json(Shown("png") + "," + Said("What is it?"), "A boat")}, {"png", Png(0)}},
           {{"json", Json(Shown("0.png") + "," + Said("and") + "," + Shown("1.png"), "Differ")},
            {"0.png", Png(1)},
            {"1.png", Png(2)}},
           {{"json", Json(Shown("png") + "," + Said(many) + "," + Shown("b.png"), "Long")},
            {"png", Png(1)},
            {"b.png", Png(0)}}});
  }

  // Images of several sizes.
  static Image Picture(int n) { return Grey({.height = 16 + 8 * n, .width = 24 + 16 * n}, n); }
  static std::string Png(int n) { return EncodePng(Picture(n), 0).value(); }

  void Write(const std::vector<std::vector<std::pair<std::string, std::string>>>& samples) {
    TarWriter writer = TarWriter::Create(root_ / "a.tar").value();
    for (size_t i = 0; i < samples.size(); ++i) {
      for (const auto& [extension, bytes] : samples[i]) {
        ASSERT_THAT(writer.Add(absl::StrFormat("k%d.%s", i, extension), bytes),
                    absl_testing::IsOk());
      }
    }
    ASSERT_THAT(writer.Close(), absl_testing::IsOk());
    report_ =
        PrepareDataset(root_, {.splits = {{"train", {"a.tar"}}}, .fields = ConversationFields()})
            .value();
  }

  ConversationOptions Options(int64_t sequence_length = 96) const {
    return {.sequence_length = sequence_length,
            .prompt = prompt_,
            .images = SampleImages{
                .modality = 0, .max_count = 2, .tiling = {.patch_size = 4, .max_patches = 64}}};
  }

  std::unique_ptr<ConversationSource> Source(const ConversationOptions& options) const {
    return ConversationSource::Create(Dataset::Open(root_, "train").value(), options).value();
  }

  std::filesystem::path root_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::shared_ptr<const Prompt> prompt_;
  PrepareReport report_;
};

}  // namespace hetero::data

#endif  // HETERO_DATA_CONVERSATION_HARNESS_H_
