// Bad configurations and bad data end a run with a message that says where and what.

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/image/codec.h"
#include "hetero/data/image/image.h"
#include "hetero/data/tar/writer.h"
#include "hetero/data/webdataset/prepare.h"
#include "hetero/trainer/exit_code.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;

constexpr int kNumSamples = 24;

// A folder of two shards of captioned images and a run that trains on it.
class WebDatasetRunTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = TestFolder() / ::testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }

  fs::path Shard(int shard) const { return folder_ / absl::StrCat("shard", shard, ".tar"); }

  static std::string Png() {
    data::Image image;
    image.Reshape({.height = 32, .width = 32}, 1);
    for (size_t i = 0; i < image.pixels.size(); ++i) {
      image.pixels[i] = static_cast<uint8_t>(i * 2654435761u >> 24);
    }
    return data::EncodePng(image, 0).value();
  }

  void WriteShards(std::string_view last_caption = "grey") {
    const std::string png = Png();
    for (int shard = 0; shard < 2; ++shard) {
      data::TarWriter writer = data::TarWriter::Create(Shard(shard)).value();
      for (int i = shard * kNumSamples / 2; i < (shard + 1) * kNumSamples / 2; ++i) {
        const std::string key = absl::StrFormat("k%02d", i);
        ASSERT_THAT(writer.Add(key + ".png", png), IsOk());
        ASSERT_THAT(writer.Add(key + ".txt", i + 1 < kNumSamples ? "grey" : last_caption), IsOk());
      }
      ASSERT_THAT(writer.Close(), IsOk());
    }
  }

  data::PrepareReport Prepare() {
    return data::PrepareDataset(folder_,
                                {.splits = {{"train", {"shard0.tar", "shard1.tar"}}}, .fields = {}})
        .value();
  }

  // Overwrites bytes of the image of `key`; tar headers stay whole.
  void DamageImage(int shard, std::string_view key) {
    std::fstream file(Shard(shard), std::ios::in | std::ios::out | std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(file)), {});
    const size_t header = bytes.find(absl::StrCat(key, ".png"));
    ASSERT_NE(header, std::string::npos);
    file.clear();
    file.seekp(static_cast<std::streamoff>(header + 512 + 60));
    file << "damaged!";
  }

  RecipeRun Train() {
    proto::RunConfig config = RecipeConfig("mock_vlm_tiny", {"train_steps=3"});
    proto::WebDataset& web = *config.mutable_data()->mutable_web_dataset();
    web.set_train(folder_.filename());
    web.set_min_patches(16);
    web.set_max_patches(64);
    web.set_end_token_id(256);
    return RunConfigured(config);
  }

  fs::path folder_;
};

TEST_F(WebDatasetRunTest, TrainsOnWhatPreparationCouldDecode) {
  WriteShards();
  DamageImage(0, "k05");
  const data::PrepareReport report = Prepare();
  EXPECT_EQ(report.num_samples, kNumSamples);
  EXPECT_THAT(report.excluded,
              ElementsAre(Field(&data::UnreadableSample::sample, "shard0.tar/k05")));
  const RecipeRun run = Train();
  EXPECT_THAT(run.status, IsOk());
  EXPECT_EQ(run.steps.size(), 3);
}

TEST_F(WebDatasetRunTest, AnImageDamagedAfterPreparationIsNamed) {
  WriteShards();
  Prepare();
  DamageImage(1, "k17");
  EXPECT_THAT(Train().status, StatusIs(absl::StatusCode::kDataLoss,
                                       AllOf(ContainsRegex("rank 0: step [0-9]+ [a-z_.0-9]+ "
                                                           "[A-Z][0-9]+: lane 0 of 1: microbatch "
                                                           "[0-9]+: "),
                                             HasSubstr("shard1.tar"), HasSubstr("k17.png"))));
}

// Another program's preparation decodes nothing and excludes nothing.
TEST_F(WebDatasetRunTest, WhatNobodyExcludedIsCorruptDataNamedWithTheRemedy) {
  struct Fault {
    std::string_view extension;
    std::string_view bytes;
    std::string_view says;
  };
  const std::string png = Png();
  for (const Fault& fault :
       {Fault{"png", "", "bad.png: the file has 0 bytes"},
        Fault{"jpg", "GIF89a...", "bad.jpg: the bytes are a GIF"},
        Fault{"json", "{}", "has no member \"png,jpg,jpeg,webp\"; it has json, txt"},
        Fault{"png", std::string_view(png).substr(0, 200), "bad.png: PNG: "}}) {
    data::TarWriter writer = data::TarWriter::Create(Shard(0)).value();
    ASSERT_THAT(writer.Add("good.png", png), IsOk());
    ASSERT_THAT(writer.Add("good.txt", "grey"), IsOk());
    ASSERT_THAT(writer.Add(absl::StrCat("bad.", fault.extension), fault.bytes), IsOk());
    ASSERT_THAT(writer.Add("bad.txt", "grey"), IsOk());
    ASSERT_THAT(writer.Close(), IsOk());
    ASSERT_THAT(
        data::PrepareDataset(folder_, {.splits = {{"train", {"shard0.tar"}}}, .fields = {}}),
        IsOk());
    std::ofstream(folder_ / ".nv-meta/split.yaml")
        << "split_parts: {train: [shard0.tar]}\nexclude: []\n";
    const absl::Status status = Train().status;
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kDataLoss,
                                 AllOf(HasSubstr("shard0.tar"), HasSubstr(fault.says),
                                       HasSubstr(absl::StrCat("--prepare ", folder_.native())))));
    EXPECT_EQ(ExitCodeFor(status), ExitCode::kData);
  }
}

TEST_F(WebDatasetRunTest, AMissingShardIsNamed) {
  WriteShards();
  Prepare();
  fs::remove(Shard(1));
  EXPECT_THAT(Train().status, StatusIs(absl::StatusCode::kNotFound, HasSubstr("shard1.tar")));
}

TEST_F(WebDatasetRunTest, ATruncatedShardIsNamed) {
  WriteShards();
  Prepare();
  fs::resize_file(Shard(0), fs::file_size(Shard(0)) / 2);
  EXPECT_THAT(Train().status, StatusIs(absl::StatusCode::kDataLoss, HasSubstr("shard0.tar")));
}

TEST_F(WebDatasetRunTest, ACaptionTooLongForTheSequenceIsNamed) {
  WriteShards(std::string(60, 'g'));
  Prepare();
  EXPECT_THAT(Train().status, StatusIs(absl::StatusCode::kInvalidArgument,
                                       AllOf(HasSubstr("k23"), HasSubstr("61"), HasSubstr("48"))));
}

TEST(RunConfigTest, AFolderThatIsNoDataSetIsNamed) {
  proto::RunConfig config = RecipeConfig("fashion_tiny", {"data.fashion_mnist.archive=nowhere"});
  EXPECT_THAT(RunConfigured(config).status,
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("nowhere"),
                             HasSubstr("sudo apt-get install dataset-fashion-mnist"))));
}

TEST(RunConfigTest, EveryViolationIsToldBeforeAnythingStarts) {
  const RecipeRun run = RunConfigured(
      RecipeConfig("fashion_tiny", {"language.cp=2", "language.rank_offset=1",
                                    "evaluation.num_batches=0", "radio_encoder.num_ranks=3"}));
  EXPECT_THAT(run.status, StatusIs(absl::StatusCode::kInvalidArgument,
                                   AllOf(HasSubstr("language.cp is 2"), HasSubstr("overlaps"),
                                         HasSubstr("evaluation.num_batches is 0"))));
  EXPECT_EQ(run.output, "");
}

}  // namespace
}  // namespace hetero
