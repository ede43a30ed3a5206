#include "hetero/trainer/feed/host_microbatch.h"

#include <cstddef>
#include <initializer_list>

#include "hetero/base/status.h"
#include "hetero/tensor/device.h"
#include "hetero/tensor/dtype.h"

namespace hetero {
namespace {

// Gives tensors their places one behind the other.
class Placement {
 public:
  explicit Placement(void* memory) : memory_(static_cast<char*>(memory)) {}

  TensorView Next(DType dtype, std::initializer_list<int64_t> dims) {
    const TensorView tensor(memory_ + bytes_, dtype, dims);
    bytes_ += Buffer::AlignedBytes(tensor.num_bytes());
    return tensor;
  }

  int64_t bytes() const { return bytes_; }

 private:
  char* memory_;
  int64_t bytes_ = 0;
};

MicrobatchTensors Place(const BatchFeedOptions& options, Placement& placement) {
  MicrobatchTensors tensors;
  if (options.reads_tokens) {
    for (TensorView* tensor : {&tensors.text_tokens, &tensors.text_positions,
                               &tensors.loss_positions, &tensors.loss_targets}) {
      *tensor = placement.Next(DType::kI32, {options.num_tokens()});
    }
    tensors.loss_weights = placement.Next(DType::kF32, {options.num_tokens()});
    for (const int modality : options.edges) {
      tensors.modality_positions.push_back(
          placement.Next(DType::kI32, {options.max_own_rows(modality)}));
    }
    tensors.token_offsets = placement.Next(DType::kI32, {options.num_samples() + 1});
    if (options.limits.packs_rows) {
      tensors.sequence_index = placement.Next(DType::kI32, {options.num_tokens()});
    }
  }
  tensors.features.resize(options.reads.size());
  for (size_t read = 0; options.reads_features && read < options.reads.size(); ++read) {
    const int modality = options.reads[read];
    tensors.features[read] = placement.Next(
        options.storage,
        {options.max_features(modality), options.limits.modalities[modality].feature_width});
  }
  return tensors;
}

}  // namespace

int64_t MicrobatchBytes(const BatchFeedOptions& options) {
  Placement placement(reinterpret_cast<void*>(kShapeOnlyAddress));
  Place(options, placement);
  return placement.bytes();
}

MicrobatchTensors LayOut(const BatchFeedOptions& options, void* memory) {
  Placement placement(memory);
  return Place(options, placement);
}

MicrobatchUse LargestUse(const BatchFeedOptions& options) {
  MicrobatchUse use{.num_text_tokens = options.num_tokens(),
                    .num_loss_tokens = options.num_tokens(),
                    .has_media = !options.reads.empty()};
  for (const int modality : options.edges) {
    use.placeholders.push_back(options.max_own_rows(modality));
    use.num_text_tokens -= options.max_rows(modality);
  }
  for (int64_t row = 0; row <= options.num_samples(); ++row) {
    use.token_offsets.push_back(static_cast<int32_t>(row * options.sequence_length));
  }
  use.cu_seqlens = use.token_offsets;
  for (const int modality : options.reads) {
    use.num_features.push_back(options.max_features(modality));
    std::vector<MediaSize>& sizes = use.sizes.emplace_back();
    const std::vector<MediaSize>& of_sample = options.limits.modalities[modality].sizes;
    for (int64_t i = 0; i < options.num_samples(); ++i) {
      sizes.insert(sizes.end(), of_sample.begin(), of_sample.end());
    }
  }
  return use;
}

absl::StatusOr<HostMicrobatch> HostMicrobatch::Create(const BatchFeedOptions& options,
                                                      MemoryLedger& ledger) {
  HostMicrobatch microbatch;
  void* address = nullptr;
  const int64_t bytes = MicrobatchBytes(options);
  if (options.device.kind == DeviceKind::kCuda) {
    HETERO_ASSIGN_OR_RETURN(microbatch.pinned,
                            PinnedBuffer::Allocate(options.device, bytes, ledger));
    HETERO_ASSIGN_OR_RETURN(microbatch.copied, Event::Create(options.device));
    address = microbatch.pinned.address();
  } else {
    HETERO_ASSIGN_OR_RETURN(microbatch.memory,
                            Buffer::Allocate(options.device, MemoryLabel::kData, bytes, ledger));
    address = microbatch.memory.address();
  }
  microbatch.tensors = LayOut(options, address);
  microbatch.use = LargestUse(options);
  return microbatch;
}

}  // namespace hetero
