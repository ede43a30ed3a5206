#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/status.h"
#include "hetero/data/mock_source.h"
#include "hetero/data/sample_order.h"
#include "hetero/data/source.h"
#include "hetero/tensor/copy.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/ops/cuda_testing.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"
#include "hetero/tensor/ops/testing.h"
#include "hetero/trainer/feed/feed.h"
#include "hetero/trainer/feed/feed_options.h"
#include "hetero/trainer/feed/samples.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

constexpr int kMicrobatches = 9;

BatchFeedOptions Options(Device device, DType storage) {
  const data::MockOptions mock = {.num_samples = 100,
                                  .sequence_length = 16,
                                  .image_tokens = 4,
                                  .vocabulary_size = 64,
                                  .image_id = 63,
                                  .patch_size = 2};
  return {
      .reads_tokens = true,
      .reads = {0},
      .reads_features = true,
      .modalities = {{.name = "image", .placeholder_id = 63, .form = ImageForm()}},
      .edges = {0},
      .position = {.lane = 0, .num_lanes = 1},
      .batch = {.global_batch_size = 12, .samples_per_microbatch = 4},
      .sequence_length = 16,
      .vocabulary_size = 64,
      .num_slots = 2,
      .device = device,
      .storage = storage,
      .limits = {.modalities = {{.feature_width = 12,
                                 .sizes = {{.height = 8, .width = 8}},
                                 .max_features = 16,
                                 .max_tokens = 4}}},
      .samples = SampleSet{.order = data::SampleOrder::Shuffled(100, 3).value(),
                           .open = [mock]() -> absl::StatusOr<std::unique_ptr<data::SampleSource>> {
                             return data::MockSource::Create(mock);
                           }}};
}

// Loads microbatch after microbatch into two slots in turn and has the device copy each out, behind
// other work of about a millisecond: the feed comes round its ring of host memory before the device
// has read it. Returns the bytes of all tensors in their order.
absl::StatusOr<std::vector<std::string>> Load(Device device, DType storage) {
  MemoryLedger memory;
  StreamWithWorkspace stream(device);
  HETERO_ASSIGN_OR_RETURN(BatchFeed feed, BatchFeed::Create(Options(device, storage), memory));
  ArenaScope scope(stream->workspace());
  HETERO_ASSIGN_OR_RETURN(const TensorView other,
                          stream->workspace().Allocate(DType::kF32, {1 << 20}));
  std::vector<PinnedBuffer> buffers;
  std::vector<TensorView> copies;
  for (int i = 0; i < kMicrobatches; ++i) {
    for (int repeat = 0; device.IsCuda() && repeat < 256; ++repeat) {
      HETERO_RETURN_IF_ERROR(Fill(repeat, other, *stream));
    }
    HETERO_ASSIGN_OR_RETURN(const FeedInput input, feed.Load(i % 2, i / 3, i % 3, *stream));
    const TokenBatch& tokens = *input.tokens;
    for (const ConstTensorView& view :
         {tokens.text_tokens, tokens.text_positions, tokens.modality_positions[0],
          tokens.loss_positions, tokens.loss_targets, tokens.loss_weights,
          tokens.sequences.device_token_offsets, input.modalities[0].features}) {
      HETERO_ASSIGN_OR_RETURN(PinnedBuffer buffer,
                              PinnedBuffer::Allocate(device, view.num_bytes(), memory));
      copies.push_back(buffer.View(view.dtype(), view.dims()));
      buffers.push_back(std::move(buffer));
      HETERO_RETURN_IF_ERROR(CopyToHost(view, copies.back(), *stream));
    }
  }
  HETERO_RETURN_IF_ERROR(stream->Synchronize());
  std::vector<std::string> contents;
  for (const TensorView& copy : copies) {
    contents.emplace_back(static_cast<const char*>(copy.address()), copy.num_bytes());
  }
  return contents;
}

class BatchFeedCudaTest : public ::testing::TestWithParam<DType> {};

TEST_P(BatchFeedCudaTest, EveryMicrobatchArrivesWhole) {
  const auto expected = Load(Device{}, GetParam()), actual = Load({DeviceKind::kCuda}, GetParam());
  ASSERT_THAT(expected, IsOk());
  ASSERT_THAT(actual, IsOk());
  ASSERT_EQ(actual->size(), expected->size());
  for (size_t i = 0; i < expected->size(); ++i) {
    EXPECT_TRUE((*actual)[i] == (*expected)[i]) << "microbatch " << i / 8 << ", tensor " << i % 8;
  }
}

INSTANTIATE_TEST_SUITE_P(Storage, BatchFeedCudaTest, ::testing::Values(DType::kF32, DType::kBF16),
                         DTypeName);

}  // namespace
}  // namespace hetero
