#include "hetero/trainer/feed/samples.h"

#include <zlib.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/energon/loader_options.h"
#include "hetero/data/energon/loader_plan.h"
#include "hetero/data/energon/rank_loader.h"
#include "hetero/data/energon/read_blend.h"
#include "hetero/data/energon/sample_reference.h"
#include "hetero/data/image/codec.h"
#include "hetero/data/image/image.h"
#include "hetero/data/source.h"
#include "hetero/data/tar/writer.h"
#include "hetero/data/webdataset/prepare.h"
#include "hetero/tensor/sequence_batch.h"
#include "hetero/trainer/feed/samples_testing.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

using namespace samples_testing;  // NOLINT: made for these tests
using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(LimitsOfTest, AreThoseOfTheLargestSample) {
  const SampleLimits fashion = LimitsOf(Changed("fashion_tiny", {}), kVision);
  EXPECT_EQ(fashion.modalities[0].feature_width, 48);
  EXPECT_EQ(fashion.modalities[0].max_features, 96);
  EXPECT_EQ(fashion.modalities[0].max_tokens, 24);
  EXPECT_THAT(fashion.modalities[0].sizes, ElementsAre(ImageSize{.height = 32, .width = 48}));

  // 43 of 48 positions are left for an image, whatever its sides: the longest take most memory.
  const SampleLimits web =
      LimitsOf(Changed("fashion_tiny", {"data.web_dataset={train: \"shards\" min_patches: 8 "
                                        "max_patches: 256 end_token_id: 256}"}),
               kVision);
  EXPECT_EQ(web.modalities[0].max_features, 4 * web.modalities[0].max_tokens);
  EXPECT_THAT(web.modalities[0].sizes, ElementsAre(ImageSize{.height = 8, .width = 344}));
  EXPECT_EQ(web.modalities[0].max_tokens, 43);

  const SampleLimits mixed = LimitsOf(Changed("mock_avlm_tiny", {}), kHearing);
  EXPECT_EQ(mixed.modalities[0].max_tokens, 16);
  EXPECT_EQ(mixed.modalities[1].feature_width, 16);
  EXPECT_EQ(mixed.modalities[1].max_features, 48);
  EXPECT_EQ(mixed.modalities[1].max_tokens, 24);
  EXPECT_THAT(mixed.modalities[1].sizes, ElementsAre(MediaSize{.height = 48, .width = 1}));
  // What no sample has takes no room.
  const SampleLimits none =
      LimitsOf(Changed("mock_avlm_tiny", {"data.mock.image_percent=0", "data.mock.clip_percent=0"}),
               kHearing);
  for (const data::SourceLimits& modality : none.modalities) EXPECT_EQ(modality.max_features, 0);
  const SampleLimits photographs = LimitsOf(Changed("fashion_tiny", {}), kHearing);
  EXPECT_EQ(photographs.modalities[0].max_tokens, 24);
  EXPECT_EQ(photographs.modalities[1].max_tokens, 0);

  // Of a row: its patches and images, one of them the largest.
  const SampleLimits packed =
      LimitsOf(Changed("fashion_tiny", {"data.packing={max_patches: 131 max_images: 4}"}), kVision);
  EXPECT_TRUE(packed.packs_rows);
  EXPECT_EQ(packed.modalities[0].max_features, 128);
  EXPECT_EQ(packed.modalities[0].max_tokens, 32);
  EXPECT_THAT(
      packed.modalities[0].sizes,
      ElementsAre(ImageSize{.height = 32, .width = 48}, ImageSize{.height = 8, .width = 16},
                  ImageSize{.height = 8, .width = 24}, ImageSize{.height = 8, .width = 24}));

  // Of tiles: 10 of 4 tokens fit beside a token of text and the places kept free.
  const SampleLimits tiled = LimitsOf(
      Changed("fashion_tiny",
              {"data.web_dataset={train: \"shards\" end_token_id: 256 tiles: {tile_size: 16 "
               "max_tiles: 12 thumbnail: true}}"}),
      kVision);
  EXPECT_EQ(tiled.modalities[0].max_tokens, 40);
  EXPECT_EQ(tiled.modalities[0].max_features, 160);
  EXPECT_EQ(tiled.modalities[0].sizes, std::vector(10, ImageSize{.height = 16, .width = 16}));

  // Of a conversation: its images together, each beside the largest with a token at least.
  const auto conversations = [](std::string_view fields) {
    return Changed("mock_vlm_tiny",
                   {absl::StrCat("data.conversations={train: \"s\" ", fields, "}")});
  };
  const SampleLimits several =
      LimitsOf(conversations("images: {min_patches: 4 max_patches: 64 max_count: 4}"), kVision);
  EXPECT_EQ(several.modalities[0].max_tokens, 47);
  EXPECT_EQ(several.modalities[0].max_features, 188);
  EXPECT_THAT(
      several.modalities[0].sizes,
      ElementsAre(ImageSize{.height = 8, .width = 128}, ImageSize{.height = 8, .width = 80},
                  ImageSize{.height = 8, .width = 80}, ImageSize{.height = 8, .width = 88}));
  const SampleLimits texts = LimitsOf(conversations(""), kVision);
  EXPECT_EQ(texts.modalities[0].max_tokens, 0);
  EXPECT_EQ(texts.modalities[0].feature_width, 48);
  EXPECT_THAT(LimitsOf(conversations(""), kText).modalities, IsEmpty());

  const SampleLimits text = LimitsOf(Changed("mock_tiny", {}), kText);
  EXPECT_THAT(text.modalities, IsEmpty());
}

std::string BigEndian(uint32_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<char>(value >> shift));
  return bytes;
}

void WriteGzip(const fs::path& path, const std::string& bytes) {
  const gzFile file = gzopen(path.c_str(), "wb");
  ASSERT_EQ(gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size())),
            static_cast<int>(bytes.size()));
  ASSERT_EQ(gzclose(file), Z_OK);
}

// An archive of `count` photographs, each of one grey and with label i mod 10.
void WriteArchive(const fs::path& folder, const std::string& prefix, uint32_t count) {
  fs::create_directories(folder);
  std::string images = BigEndian(0x803) + BigEndian(count) + BigEndian(28) + BigEndian(28);
  std::string labels = BigEndian(0x801) + BigEndian(count);
  for (uint32_t i = 0; i < count; ++i) {
    images.append(28 * 28, static_cast<char>(i));
    labels.push_back(static_cast<char>(i % 10));
  }
  WriteGzip(folder / (prefix + "-images-idx3-ubyte.gz"), images);
  WriteGzip(folder / (prefix + "-labels-idx1-ubyte.gz"), labels);
}

constexpr int64_t kLanes = 2;

class PrepareSamplesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(::testing::TempDir()) /
              ::testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }

  absl::StatusOr<RunSamples> Prepare(const std::vector<std::string>& assignments) {
    messages_.clear();
    return PrepareSamples(
        Changed("fashion_tiny", assignments), kVision, kLanes, folder_,
        {.message = [this](std::string_view text) { messages_.emplace_back(text); }});
  }

  fs::path folder_;
  std::vector<std::string> messages_;
};

TEST_F(PrepareSamplesTest, FashionMnistIsPreparedOnceAndOpenedByEveryRank) {
  WriteArchive(folder_ / "archive", "train", 23);
  WriteArchive(folder_ / "archive", "t10k", 7);
  const std::vector<std::string> assignments = {"data.fashion_mnist.archive=archive",
                                                "data.fashion_mnist.cache=cache/fashion"};
  RunSamples samples = Prepare(assignments).value();
  EXPECT_THAT(messages_, ElementsAre(HasSubstr("preparing Fashion-MNIST, once"),
                                     "prepared 30 photographs, 0 of them unreadable"));
  samples = Prepare(assignments).value();
  EXPECT_THAT(messages_, IsEmpty());

  EXPECT_EQ(samples.train.order.num_samples(), 23);
  std::set<int64_t> epoch;
  for (int64_t i = 0; i < 23; ++i) epoch.insert(*samples.train.order.DatasetIndex(i));
  EXPECT_EQ(epoch.size(), 23);
  EXPECT_EQ(samples.evaluation->order.DatasetIndex(6), 6);
  EXPECT_EQ(samples.evaluation->order.DatasetIndex(7), std::nullopt);

  const SampleLimits limits = LimitsOf(Changed("fashion_tiny", assignments), kVision);
  const auto source = samples.train.open().value();
  EXPECT_EQ(source->size(), 23);
  EXPECT_EQ(source->feature_width(0), limits.modalities[0].feature_width);
  data::LanguageSample sample;
  EXPECT_THAT(samples.train.open().value()->ReadLanguage(1, sample), IsOk());
  EXPECT_EQ(sample.NumPlaceholders(), 24);
  EXPECT_THAT(sample.text, ElementsAre('T', 'r', 'o', 'u', 's', 'e', 'r', 256));
}

TEST_F(PrepareSamplesTest, MissingArchiveNamesThePackage) {
  EXPECT_THAT(Prepare({"data.fashion_mnist.archive=nowhere", "data.fashion_mnist.cache=cache"}),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr((folder_ / "nowhere").native()),
                             HasSubstr("sudo apt-get install dataset-fashion-mnist"),
                             HasSubstr("data.fashion_mnist.archive"))));
}

TEST_F(PrepareSamplesTest, CacheFollowsTheUsersFolder) {
  WriteArchive(folder_ / "archive", "train", 12);
  WriteArchive(folder_ / "archive", "t10k", 3);
  ASSERT_EQ(setenv("XDG_CACHE_HOME", (folder_ / "mine").c_str(), 1), 0);
  EXPECT_THAT(Prepare({"data.fashion_mnist.archive=archive"}), IsOk());
  EXPECT_TRUE(fs::is_directory(folder_ / "mine/hetero/fashion_mnist"));
}

TEST_F(PrepareSamplesTest, MissingDatasetNamesItsFolder) {
  EXPECT_THAT(Prepare({"data.web_dataset={train: \"shards\" evaluation: \"shards\" min_patches: 8 "
                       "max_patches: 100 end_token_id: 256}"}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr((folder_ / "shards").native())));
}

constexpr std::string_view kWeb =
    "data.web_dataset={train: \"shards\" evaluation: \"shards\" min_patches: 8 max_patches: 100 "
    "end_token_id: 256}";

TEST_F(PrepareSamplesTest, ErrorsOfADatasetNameItsFieldAndTheRemedy) {
  const fs::path folder = folder_ / "shards";
  fs::create_directories(folder);
  EXPECT_THAT(Prepare({std::string(kWeb)}),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("data.web_dataset.train"),
                             HasSubstr("//tools:dataset_check -- --prepare " + folder.native()))));

  data::TarWriter writer = data::TarWriter::Create(folder / "a.tar").value();
  data::Image image;
  image.Reshape({.height = 8, .width = 8}, 1);
  ASSERT_THAT(writer.Add("k.png", data::EncodePng(image).value()), IsOk());
  ASSERT_THAT(writer.Add("k.txt", "grey"), IsOk());
  ASSERT_THAT(writer.Close(), IsOk());
  ASSERT_THAT(data::PrepareDataset(folder, {.splits = {{"train", {"a.tar"}}}, .fields = {}}),
              IsOk());
  EXPECT_THAT(Prepare({std::string(kWeb)}),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("data.web_dataset.evaluation"),
                             HasSubstr("no split \"val\" under split_parts; it has train"))));

  fs::resize_file(folder / "a.tar", 512);
  EXPECT_THAT(Prepare({std::string(kWeb)}),
              StatusIs(absl::StatusCode::kDataLoss,
                       AllOf(HasSubstr("data.web_dataset.train"), HasSubstr("cut short"),
                             HasSubstr("--prepare " + folder.native()))));
}

// Names of samples, of two lanes of three workers.
TEST_F(PrepareSamplesTest, SamplesOfABlendComeInTheOrderOfItsLoaders) {
  const std::vector<std::pair<std::string, int>> sets = {{"first", 13}, {"second", 30}};
  for (const auto& [name, count] : sets) {
    fs::create_directories(folder_ / name);
    data::TarWriter writer = data::TarWriter::Create(folder_ / name / "a.tar").value();
    data::Image image;
    image.Reshape({.height = 8, .width = 8}, 1);
    for (int i = 0; i < count; ++i) {
      const std::string key = absl::StrCat(name, "_", i);
      ASSERT_THAT(writer.Add(key + ".png", data::EncodePng(image).value()), IsOk());
      ASSERT_THAT(writer.Add(key + ".txt", "grey"), IsOk());
    }
    ASSERT_THAT(writer.Close(), IsOk());
    ASSERT_THAT(
        data::PrepareDataset(folder_ / name, {.splits = {{"train", {"a.tar"}}}, .fields = {}}),
        IsOk());
  }
  std::ofstream(folder_ / "blend.yaml")
      << "__module__: megatron.energon\n__class__: MetadatasetV2\nsplits:\n"
         "  train: {blend: [{weight: 9, path: first}, {weight: 1, path: second}]}\n"
         "  val: {path: second, split_part: train}\n";
  const std::string web =
      "data.web_dataset={train: \"blend.yaml\" evaluation: \"blend.yaml\" min_patches: 8 "
      "max_patches: 100 end_token_id: 256}";
  const auto name_at = [](const SampleSet& samples, data::SampleSource& source, int64_t place) {
    data::LanguageSample sample;
    EXPECT_THAT(source.ReadLanguage(samples.order.DatasetIndex(place).value(), sample), IsOk());
    return sample.name;
  };

  const RunSamples loaders =
      Prepare({web, "data.energon_order={num_workers: 3}", "micro_batch_size=4"}).value();
  ASSERT_NE(loaders.lane_order, nullptr);
  EXPECT_THAT(loaders.description,
              HasSubstr("43 samples in 2 data sets, in the order of Megatron-Energon's loader, 2 "
                        "lanes of 3 workers"));
  EXPECT_EQ(loaders.train.order.num_samples(), 43);
  const auto source = loaders.train.open().value();
  const auto plan =
      data::LoaderPlan::Make({.splits = data::ReadBlend(folder_ / "blend.yaml").value().splits,
                              .mode = data::BlendMode::kWeights,
                              .shape = {.num_ranks = kLanes, .num_workers = 3},
                              .batch_size = 4})
          .value();
  std::vector<data::RankLoader> ranks;
  for (int64_t lane = 0; lane < kLanes; ++lane) ranks.emplace_back(plan, lane);
  for (int64_t place = 0; place < 30 * kLanes * 4;) {
    for (data::RankLoader& rank : ranks) {
      for (const data::SampleReference& sample : rank.Next()) {
        EXPECT_EQ(name_at(loaders.train, *source, place++),
                  absl::StrCat("a.tar/", sets[sample.data_set].first, "_", sample.place));
      }
    }
  }
  // One pass over what its split names, in any order of training.
  ASSERT_EQ(loaders.evaluation->order.num_samples(), 30);
  EXPECT_EQ(name_at(*loaders.evaluation, *loaders.evaluation->open().value(), 7), "a.tar/second_7");

  // In our own order the shares are those of a round; 3000 places are near them.
  const RunSamples own = Prepare({web}).value();
  EXPECT_EQ(own.lane_order, nullptr);
  int64_t of_first = 0;
  for (int64_t place = 0; place < 3000; ++place) {
    of_first += *own.train.order.DatasetIndex(place) < 13 ? 1 : 0;
  }
  EXPECT_NEAR(static_cast<double>(of_first) / 3000, 0.9, 0.03);
}

TEST_F(PrepareSamplesTest, EvaluationIsNotBeyondItsData) {
  const auto violations = [this](int64_t num_batches) {
    const std::vector<std::string> assignments = {
        "data.mock={num_image_tokens: 16 num_samples: 50}",
        absl::StrCat("evaluation={num_batches: ", num_batches,
                     " micro_batch_size: 4 global_batch_size: 8}")};
    return ValidateSamples(Changed("fashion_tiny", assignments), Prepare(assignments).value());
  };
  EXPECT_THAT(violations(7), IsEmpty());
  const std::vector<Violation> beyond = violations(8);
  ASSERT_EQ(beyond.size(), 1u);
  EXPECT_EQ(
      beyond[0].ToString(),
      "evaluation.num_batches is 8, the 50 samples of the evaluation set fill 7 batches of 8; "
      "nearest: 7");
}

TEST_F(PrepareSamplesTest, MockSamplesNeverEndUnlessTold) {
  const auto mock = [this](std::string_view fields) {
    return Prepare({absl::StrCat("data.mock={num_image_tokens: 16 ", fields, "}")}).value();
  };
  const RunSamples endless = mock("");
  EXPECT_EQ(endless.train.order.DatasetIndex(123'456'789'012), 123'456'789'012);
  const RunSamples repeated = mock("num_samples: 40");
  EXPECT_LT(*repeated.train.order.DatasetIndex(123'456'789'012), 40);
  EXPECT_EQ(repeated.evaluation->order.DatasetIndex(40), std::nullopt);

  data::LanguageSample train;
  data::LanguageSample evaluation;
  EXPECT_THAT(endless.train.open().value()->ReadLanguage(5, train), IsOk());
  EXPECT_THAT(endless.evaluation->open().value()->ReadLanguage(5, evaluation), IsOk());
  EXPECT_NE(train.text, evaluation.text);
}

}  // namespace
}  // namespace hetero
