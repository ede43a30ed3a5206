#include "hetero/trainer/feed/microbatch_writer.h"

#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/batch.h"
#include "hetero/data/sample_order.h"
#include "hetero/data/source.h"
#include "hetero/tensor/dtype.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/view.h"
#include "hetero/trainer/feed/feed_options.h"
#include "hetero/trainer/feed/feed_testing.h"
#include "hetero/trainer/feed/host_microbatch.h"

namespace hetero {
namespace {

using namespace feed_testing;  // NOLINT: made for these tests
using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::ElementsAreArray;

constexpr int64_t kSize = 21;  // ends in the middle of a lane's microbatch

// Pixels that are no bf16 numbers.
float Pixel(int64_t index, size_t i) {
  return (static_cast<float>(i % 97) - 40.5f) / static_cast<float>(index + 3);
}

class PixelSource : public SizedSource {
 public:
  using SizedSource::SizedSource;

  absl::Status ReadMedia(int64_t index, int modality, data::MediaBatch& out) override {
    const size_t before = out.features.size();
    absl::Status status = SizedSource::ReadMedia(index, modality, out);
    for (size_t i = before; i < out.features.size(); ++i)
      out.features[i] = Pixel(index, i - before);
    return status;
  }
};

// What is to be written, by the words of the format.
struct Naive {
  std::vector<int32_t> text_tokens, text_positions, image_positions;
  std::vector<int32_t> loss_positions, loss_targets, token_offsets = {0};
  std::vector<float> features;
  std::vector<MediaSize> sizes;
};

Naive Fill(const BatchFeedOptions& options, int64_t step, int microbatch) {
  Naive naive;
  const data::SampleRange range =
      data::LaneSamples(options.batch, options.position, step, microbatch);
  for (int64_t row = 0; row < range.size; ++row) {
    std::vector<int32_t> tokens;
    int64_t num_images = 0;
    if (const std::optional<int64_t> index =
            options.samples->order.DatasetIndex(range.begin + row)) {
      num_images = 1 + *index % 3;
      tokens.assign(2 * num_images, kImageId);
      tokens.insert(tokens.end(), *index % 4 + 1, static_cast<int32_t>(100 + *index));
      for (size_t i = 0; i < static_cast<size_t>(num_images * 8 * 12); ++i) {
        naive.features.push_back(Pixel(*index, i));
      }
      naive.sizes.insert(naive.sizes.end(), num_images, {.height = 4, .width = 8});
    }
    naive.token_offsets.push_back(naive.token_offsets.back() + static_cast<int32_t>(tokens.size()));
    const auto length = static_cast<int64_t>(tokens.size());
    tokens.resize(kSequence, kPad);
    for (int64_t position = 0; position < kSequence; ++position) {
      const auto t = static_cast<int32_t>(row * kSequence + position);
      if (tokens[position] == kImageId) {
        naive.image_positions.push_back(t);
      } else {
        naive.text_tokens.push_back(tokens[position]);
        naive.text_positions.push_back(t);
      }
      if (position + 1 < length && tokens[position + 1] != kImageId) {
        naive.loss_positions.push_back(t);
        naive.loss_targets.push_back(tokens[position + 1]);
      }
    }
  }
  return naive;
}

template <typename T>
std::span<const T> First(const TensorView& tensor, int64_t count) {
  return tensor.Rows(0, count).values<T>();
}

class MicrobatchWriterTest : public ::testing::TestWithParam<DType> {
 protected:
  template <typename Source>
  MicrobatchWriter Writer(int64_t lane, int64_t num_lanes) {
    options_ = std::make_shared<BatchFeedOptions>(
        Options(SetOf<Source>(data::SampleOrder::OnePass(kSize).value(), kSize), lane, num_lanes));
    options_->storage = GetParam();
    microbatch_ = HostMicrobatch::Create(*options_, ledger_).value();
    return MicrobatchWriter(options_, options_->samples->open().value());
  }

  MemoryLedger ledger_;
  std::shared_ptr<BatchFeedOptions> options_;
  HostMicrobatch microbatch_;
};

TEST_P(MicrobatchWriterTest, WritesWhatANaiveFillDoes) {
  for (int64_t lane = 0; lane < 2; ++lane) {
    MicrobatchWriter writer = Writer<PixelSource>(lane, 2);
    for (int n = 0; n < 6; ++n) {
      std::memset(microbatch_.memory.address(), 0xa5, microbatch_.memory.size_bytes());
      ASSERT_THAT(writer.Write(n / 2, n % 2, microbatch_), IsOk());
      const Naive naive = Fill(*options_, n / 2, n % 2);
      const MicrobatchTensors& tensors = microbatch_.tensors;
      const MicrobatchUse& use = microbatch_.use;
      const int64_t num_text = use.num_text_tokens;
      EXPECT_THAT(First<int32_t>(tensors.text_tokens, num_text),
                  ElementsAreArray(naive.text_tokens));
      EXPECT_THAT(First<int32_t>(tensors.text_positions, num_text),
                  ElementsAreArray(naive.text_positions));
      EXPECT_THAT(First<int32_t>(tensors.modality_positions[0], use.placeholders[0]),
                  ElementsAreArray(naive.image_positions));
      const int64_t num_loss = use.num_loss_tokens;
      EXPECT_THAT(First<int32_t>(tensors.loss_positions, num_loss),
                  ElementsAreArray(naive.loss_positions));
      EXPECT_THAT(First<int32_t>(tensors.loss_targets, num_loss),
                  ElementsAreArray(naive.loss_targets));
      EXPECT_THAT(First<float>(tensors.loss_weights, num_loss),
                  ElementsAreArray(std::vector<float>(naive.loss_targets.size(), 1.0f)));
      EXPECT_THAT(use.token_offsets, ElementsAreArray(naive.token_offsets));
      EXPECT_THAT(tensors.token_offsets.values<int32_t>(), ElementsAreArray(naive.token_offsets));
      EXPECT_THAT(use.sizes[0], ElementsAreArray(naive.sizes));

      const TensorView features = tensors.features[0].Rows(0, use.num_features[0]);
      ASSERT_EQ(features.dtype(), GetParam());
      if (GetParam() == DType::kF32) {
        EXPECT_THAT(features.values<float>(), ElementsAreArray(naive.features));
        continue;
      }
      std::vector<uint16_t> written, rounded;
      for (const BFloat16 value : features.values<BFloat16>()) written.push_back(value.bits());
      for (const float value : naive.features) rounded.push_back(BFloat16(value).bits());
      EXPECT_EQ(written, rounded);
    }
  }
}

// Ranks that share a lane's tokens have its placeholders between them, each by the number of the
// token among its own; all else is the lane's.
TEST_P(MicrobatchWriterTest, PlaceholdersGoToTheRankOfTheirToken) {
  for (const int64_t size : {2, 3, 5}) {
    const int64_t share = (4 * kSequence + size - 1) / size;
    std::vector<int32_t> positions, text;
    for (int64_t rank = 0; rank < size; ++rank) {
      MicrobatchWriter writer = Writer<PixelSource>(1, 2);
      options_->token_owner = {
          .samples = {4, 4}, .row_length = kSequence, .rank = rank, .size = size};
      microbatch_ = HostMicrobatch::Create(*options_, ledger_).value();
      ASSERT_THAT(writer.Write(1, 1, microbatch_), IsOk());
      const MicrobatchUse& use = microbatch_.use;
      EXPECT_LE(use.placeholders[0], options_->max_own_rows(0));
      for (const int32_t row :
           First<int32_t>(microbatch_.tensors.modality_positions[0], use.placeholders[0])) {
        EXPECT_LT(row, share);
        positions.push_back(static_cast<int32_t>(rank * share) + row);
      }
      const auto own_text = First<int32_t>(microbatch_.tensors.text_positions, use.num_text_tokens);
      text.assign(own_text.begin(), own_text.end());
    }
    const Naive naive = Fill(*options_, 1, 1);
    EXPECT_EQ(positions, naive.image_positions);
    EXPECT_EQ(text, naive.text_positions);
  }
}

// Of sample 5 more features than its tokens are worth.
class SwollenSource : public SizedSource {
 public:
  using SizedSource::SizedSource;

  absl::Status ReadMedia(int64_t index, int modality, data::MediaBatch& out) override {
    if (index == 5) out.Add({.height = 400, .width = 8}, 800, 0);
    return SizedSource::ReadMedia(index, modality, out);
  }
};

// Of sample 5 an image less than its metadata say.
class ShrunkSource : public SizedSource {
 public:
  using SizedSource::SizedSource;

  absl::Status ReadMedia(int64_t index, int modality, data::MediaBatch& out) override {
    return SizedSource::ReadMedia(index == 5 ? 4 : index, modality, out);
  }
};

TEST_P(MicrobatchWriterTest, NothingIsWrittenBehindItsRoom) {
  EXPECT_THAT(Writer<SwollenSource>(0, 1).Write(0, 0, microbatch_),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "microbatch 0: image data of 896 rows of features, the run is sized "
                       "for 192"));
  EXPECT_THAT(Writer<ShrunkSource>(0, 1).Write(0, 0, microbatch_),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "microbatch 0: sample sized/5 has image data of 4 tokens, its "
                       "metadata say 6"));
}

INSTANTIATE_TEST_SUITE_P(Storage, MicrobatchWriterTest,
                         ::testing::Values(DType::kF32, DType::kBF16),
                         [](const auto& info) { return std::string(Name(info.param)); });

}  // namespace
}  // namespace hetero
