#ifndef HETERO_DATA_CAPTION_HARNESS_H_
#define HETERO_DATA_CAPTION_HARNESS_H_

// A data set of captioned images, and sources of it.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/data/batch_builder.h"
#include "hetero/data/caption_source.h"
#include "hetero/data/image/codec.h"
#include "hetero/data/image/image.h"
#include "hetero/data/tar/writer.h"
#include "hetero/data/webdataset/dataset.h"
#include "hetero/data/webdataset/prepare.h"

namespace hetero::data {

inline constexpr int kNumSamples = 24;
inline constexpr int64_t kSequence = 48;
inline const RowFormat kFormat = {
    .sequence_length = kSequence, .vocabulary_size = 512, .placeholder_ids = {511}, .pad_id = 0};

inline CaptionOptions Canvases() {
  return {
      .sequence_length = kSequence,
      .tiling = {.patch_size = 4},
      .canvases = {
          {.height = 32, .width = 32}, {.height = 32, .width = 48}, {.height = 48, .width = 32}}};
}

class CaptionBatchTest : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = std::filesystem::path(::testing::TempDir()) /
            ::testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(root_);
    std::filesystem::create_directories(root_);
    std::mt19937_64 random = FreshGenerator();
    TarWriter writer = TarWriter::Create(root_ / "a.tar").value();
    for (int i = 0; i < kNumSamples; ++i) {
      Image image;
      image.Reshape({.height = 28, .width = 28}, 1);
      for (uint8_t& pixel : image.pixels) pixel = static_cast<uint8_t>(random());
      images_.push_back(image.pixels);
      captions_.push_back(std::string(1 + i % 7, static_cast<char>('a' + i)));
      const std::string key = absl::StrFormat("k%02d", i);
      ASSERT_THAT(writer.Add(key + ".png", EncodePng(image, 0).value()), absl_testing::IsOk());
      ASSERT_THAT(writer.Add(key + ".txt", captions_.back()), absl_testing::IsOk());
    }
    ASSERT_THAT(writer.Close(), absl_testing::IsOk());
    ASSERT_THAT(PrepareDataset(root_, {.splits = {{"train", {"a.tar"}}}, .fields = {}}),
                absl_testing::IsOk());
  }

  std::unique_ptr<CaptionSource> Source(const CaptionOptions& options = Canvases()) const {
    return CaptionSource::Create(Dataset::Open(root_, "train").value(), options).value();
  }

  // Flips bytes inside a member's payload; its header stays whole.
  void Damage(std::string_view key, std::string_view extension) {
    std::fstream file(root_ / "a.tar", std::ios::in | std::ios::out | std::ios::binary);
    std::string bytes((std::istreambuf_iterator<char>(file)), {});
    const size_t header = bytes.find(absl::StrCat(key, ".", extension));
    ASSERT_NE(header, std::string::npos);
    file.clear();
    file.seekp(static_cast<std::streamoff>(header + 512 + 60));
    file << "damaged!";
  }

  std::filesystem::path root_;
  std::vector<std::vector<uint8_t>> images_;
  std::vector<std::string> captions_;
};

}  // namespace hetero::data

#endif  // HETERO_DATA_CAPTION_HARNESS_H_
