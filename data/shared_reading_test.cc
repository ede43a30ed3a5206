// What is read of files does not depend on who else reads them, how far ahead, or how often.

#include <malloc.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fnv.h"
#include "hetero/base/fresh_random.h"
#include "hetero/data/batch.h"
#include "hetero/data/batch_builder.h"
#include "hetero/data/caption_source.h"
#include "hetero/data/file/test_folder.h"
#include "hetero/data/image/codec.h"
#include "hetero/data/image/image.h"
#include "hetero/data/prefetcher.h"
#include "hetero/data/quarantine.h"
#include "hetero/data/sample_order.h"
#include "hetero/data/source.h"
#include "hetero/data/tar/writer.h"
#include "hetero/data/webdataset/dataset.h"
#include "hetero/data/webdataset/prepare.h"
#include "hetero/tensor/sample_facts.h"

namespace hetero::data {
namespace {

namespace fs = std::filesystem;
using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

constexpr int kNumShards = 8;
constexpr int kNumSamples = 40;
constexpr int64_t kBatchSize = 2;
constexpr int32_t kImage = 511;

// The bytes of a vector behind what `hash` is of.
template <typename T>
uint64_t HashOf(const std::vector<T>& values, uint64_t hash) {
  const auto* bytes = reinterpret_cast<const char*>(values.data());
  return Fnv1a(std::string_view(bytes, values.size() * sizeof(T)), hash);
}

uint64_t Digest(const MediaBatch& batch) {
  return HashOf(batch.cu_seqlens, HashOf(batch.num_media, HashOf(batch.features, 0)));
}

class SharedReadingTest : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = FreshFolder(::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::mt19937_64 random = FreshGenerator();
    std::vector<std::string> shards;
    for (int s = 0; s < kNumShards; ++s) {
      shards.push_back(absl::StrFormat("%d.tar", s));
      TarWriter writer = TarWriter::Create(root_ / shards.back()).value();
      for (int i = s; i < kNumSamples; i += kNumShards) {
        Image image;
        image.Reshape({.height = 20 + i % 9, .width = 28 - i % 5}, 1);
        for (uint8_t& pixel : image.pixels) pixel = static_cast<uint8_t>(random());
        const std::string key = absl::StrFormat("k%02d", i);
        ASSERT_THAT(writer.Add(key + ".png", EncodePng(image).value()), IsOk());
        ASSERT_THAT(writer.Add(key + ".txt", std::string(1 + i % 7, 'a')), IsOk());
      }
      ASSERT_THAT(writer.Close(), IsOk());
    }
    ASSERT_THAT(PrepareDataset(root_, {.splits = {{"train", shards}}, .fields = {}}), IsOk());
    dataset_ = Dataset::Open(root_, "train").value();
  }

  std::unique_ptr<SampleSource> Source() const {
    return CaptionSource::Create(dataset_, {.sequence_length = 64,
                                            .tiling = {.patch_size = 4},
                                            .canvases = {{.height = 32, .width = 32}}})
        .value();
  }

  // Flips bytes of an image behind its header.
  void Damage(int sample) const {
    const fs::path shard = root_ / absl::StrFormat("%d.tar", sample % kNumShards);
    std::fstream file(shard, std::ios::in | std::ios::out | std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(file)), {});
    const size_t header = bytes.find(absl::StrFormat("k%02d.png", sample));
    ASSERT_NE(header, std::string::npos);
    file.clear();
    file.seekp(static_cast<std::streamoff>(header + 512 + 60));
    file << "damaged!";
  }

  // The images of the order's samples, two at a time.
  absl::StatusOr<std::unique_ptr<Prefetcher<MediaBatch>>> Ahead(const SampleOrder& order,
                                                                int depth) const {
    return Prefetcher<MediaBatch>::Create(
        std::vector<MediaBatch>(depth),
        [&order, source = std::shared_ptr(Source())](int64_t n, MediaBatch& out) {
          return BuildMediaBatch(*source, order, {n * kBatchSize, kBatchSize}, 0, out);
        });
  }

  fs::path root_;
  std::shared_ptr<const Dataset> dataset_;
};

TEST_F(SharedReadingTest, BatchesAreTheSameAtAnyDepthAndBesideAnyReader) {
  constexpr int64_t kNumBatches = 1000;
  const SampleOrder order = SampleOrder::Shuffled(kNumSamples, FreshSeed()).value();
  std::vector<uint64_t> digests;
  const auto source = Source();
  MediaBatch batch;
  for (int64_t n = 0; n < kNumBatches; ++n) {
    ASSERT_THAT(BuildMediaBatch(*source, order, {n * kBatchSize, kBatchSize}, 0, batch), IsOk());
    digests.push_back(Digest(batch));
  }
  constexpr int kDepths[] = {1, 2, 4};
  std::vector<std::vector<uint64_t>> read(std::size(kDepths));
  std::vector<std::thread> readers;
  for (size_t k = 0; k < std::size(kDepths); ++k) {
    readers.emplace_back([&, k] {
      const auto ahead = Ahead(order, kDepths[k]).value();
      for (int64_t n = 0; n < kNumBatches; ++n) read[k].push_back(Digest(*ahead->Take(n).value()));
    });
  }
  for (std::thread& reader : readers) reader.join();
  for (const std::vector<uint64_t>& of_depth : read) EXPECT_EQ(of_depth, digests);
}

// What is damaged is met while it is read ahead, and told when its batch is asked for.
TEST_F(SharedReadingTest, AFailureComesWithItsBatchHoweverFarAheadItIsMet) {
  constexpr int64_t kBad = 8;
  const SampleOrder order = SampleOrder::OnePass(kNumSamples).value();
  const auto source = Source();
  std::vector<uint64_t> digests;
  MediaBatch batch;
  for (int64_t n = 0; n < kNumSamples / kBatchSize; ++n) {
    ASSERT_THAT(BuildMediaBatch(*source, order, {n * kBatchSize, kBatchSize}, 0, batch), IsOk());
    digests.push_back(Digest(batch));
  }
  LanguageSample named;
  ASSERT_THAT(source->ReadLanguage(kBad * kBatchSize + 1, named), IsOk());
  Damage(std::stoi(named.name.substr(named.name.find('k') + 1)));
  for (const int depth : {1, 2, 4}) {
    const auto ahead = Ahead(order, depth).value();
    for (int64_t n = 0; n < std::ssize(digests); ++n) {
      const auto taken = ahead->Take(n);
      if (n == kBad) {
        EXPECT_THAT(taken, StatusIs(absl::StatusCode::kDataLoss,
                                    HasSubstr(named.name.substr(named.name.find('k')))));
      } else {
        EXPECT_EQ(Digest(**taken), digests[n]) << "depth " << depth << ", batch " << n;
      }
    }
  }
}

// Four language lanes and an encoder lane that serves them, each with files of its own, where a
// part of the images does not decode.
TEST_F(SharedReadingTest, LanesAgreeWithTheirEncoderWhateverCannotBeRead) {
  constexpr int64_t kLanes = 4;
  constexpr int64_t kSteps = 1000;
  std::mt19937_64 random = FreshGenerator();
  for (int i = 0; i < kNumSamples; ++i) {
    if (random() % 5 == 0) Damage(i);
  }
  auto bad = std::make_shared<Quarantine>();
  const auto pixels = Source();
  MediaBatch images;
  for (int64_t i = 0; i < pixels->size(); ++i) {
    images.Clear(pixels->feature_width(0));
    images.BeginSample();
    const absl::Status read = pixels->ReadMedia(i, 0, images);
    if (absl::IsDataLoss(read)) bad->Add(i);
  }
  const BatchLayout layout = {.global_batch_size = kLanes * kBatchSize,
                              .samples_per_microbatch = kLanes * kBatchSize};
  const SampleOrder order = SampleOrder::Shuffled(kNumSamples, FreshSeed()).value();
  const RowFormat format = {
      .sequence_length = 80, .vocabulary_size = 512, .placeholder_ids = {kImage}};
  QuarantinedSource encoder(Source(), bad);
  QuarantinedSource counting(Source(), bad);
  std::vector<std::unique_ptr<QuarantinedSource>> lanes;
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    lanes.push_back(std::make_unique<QuarantinedSource>(Source(), bad));
  }
  LanguageSample scratch;
  LanguageBatch rows;
  std::vector<SampleFacts> facts;
  for (int64_t step = 0; step < kSteps; ++step) {
    ASSERT_THAT(BuildMediaBatch(encoder, order, LaneSamples(layout, {0, 1}, step, 0),
                                /*modality=*/0, images),
                IsOk());
    std::vector<int64_t> placeholders;
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const SampleRange range = LaneSamples(layout, {lane, kLanes}, step, 0);
      ASSERT_THAT(BuildLanguageBatch(*lanes[lane], order, range, format, scratch, rows), IsOk());
      placeholders.insert(placeholders.end(), rows.num_placeholders.begin(),
                          rows.num_placeholders.end());
      ASSERT_EQ(std::ranges::count(rows.tokens, kImage),
                rows.num_placeholders[0] + rows.num_placeholders[1]);
    }
    ASSERT_EQ(placeholders, images.num_placeholders) << "step " << step;
    ASSERT_THAT(ReadFacts(counting, order, LaneSamples(layout, {0, 1}, step, 0), 80, 1, facts),
                IsOk());
    for (size_t i = 0; i < facts.size(); ++i) {
      const bool has_any = !facts[i].modalities.empty();
      ASSERT_EQ(has_any ? facts[i].modalities[0].num_tokens : 0, placeholders[i]);
    }
  }
}

TEST_F(SharedReadingTest, TenEpochsTakeTheMemoryAndTheFilesOfTwo) {
  const SampleOrder order = SampleOrder::Shuffled(kNumSamples, FreshSeed()).value();
  const auto source = Source();
  const auto num_open_files = [] {
    return std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator());
  };
  LanguageSample scratch;
  LanguageBatch rows;
  MediaBatch images;
  std::vector<std::pair<size_t, int64_t>> after;
  after.reserve(10);
  for (int64_t epoch = 0; epoch < 10; ++epoch) {
    for (int64_t i = 0; i < kNumSamples; ++i) {
      const SampleRange range = {epoch * kNumSamples + i, 1};
      ASSERT_THAT(BuildMediaBatch(*source, order, range, 0, images), IsOk());
      ASSERT_THAT(BuildLanguageBatch(
                      *source, order, range,
                      {.sequence_length = 80, .vocabulary_size = 512, .placeholder_ids = {kImage}},
                      scratch, rows),
                  IsOk());
    }
    after.emplace_back(mallinfo2().uordblks + mallinfo2().hblkhd, num_open_files());
  }
  for (size_t epoch = 2; epoch < after.size(); ++epoch) EXPECT_EQ(after[epoch], after[1]) << epoch;
}

}  // namespace
}  // namespace hetero::data
