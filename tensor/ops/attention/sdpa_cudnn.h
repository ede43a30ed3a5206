#ifndef HETERO_TENSOR_OPS_ATTENTION_SDPA_CUDNN_H_
#define HETERO_TENSOR_OPS_ATTENTION_SDPA_CUDNN_H_

// Scaled dot-product attention of cuDNN on raw device pointers: a batch of independent heads in
// bf16, each with its own queries, keys, values and number of rows, found by offsets. Sums run in
// an order that the problem fixes. Plans are kept with the stream.

#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "hetero/tensor/stream.h"

namespace hetero::cuda {

// What a plan depends on. Strides count elements between rows and are multiples of 8, as is
// `head_size`; addresses are aligned to 16 bytes.
struct SdpaProblem {
  bool backward = false;
  bool causal = false;
  int64_t batch = 0;
  int64_t query_length = 0;  // no entry has more rows
  int64_t key_length = 0;
  int64_t head_size = 0;
  double scale = 1;
  int64_t qkv_stride = 0;
  int64_t o_stride = 0;
  int64_t d_o_stride = 0;  // this and what follows: backward only
  int64_t d_query_stride = 0;
  int64_t d_key_stride = 0;  // of d_value too

  bool operator==(const SdpaProblem&) const = default;

  template <typename H>
  friend H AbslHashValue(H h, const SdpaProblem& p) {
    return H::combine(std::move(h), p.backward, p.causal, p.batch, p.query_length, p.key_length,
                      p.head_size, p.scale, p.qkv_stride, p.o_stride, p.d_o_stride,
                      p.d_query_stride, p.d_key_stride);
  }
};

// Offsets of an entry's first element, in elements.
enum SdpaOffset {
  kQueryOffset,
  kKeyOffset,  // of the value too
  kOutOffset,
  kLseOffset,
  kDOutOffset,
  kDQueryOffset,
  kDKeyOffset,  // of d_value too
  kNumSdpaOffsets,
};

struct SdpaOperands {
  const int32_t* query_lengths = nullptr;  // [batch] rows of the entries; 0 for what is not used
  const int32_t* key_lengths = nullptr;
  const int64_t* offsets = nullptr;  // [kNumSdpaOffsets, batch + 1]
  const void* query = nullptr;
  const void* key = nullptr;
  const void* value = nullptr;
  const void* out = nullptr;  // written by forward
  const void* lse = nullptr;  // f32, natural logarithm; written by forward
  const void* d_out = nullptr;
  void* d_query = nullptr;
  void* d_key = nullptr;
  void* d_value = nullptr;
  void* workspace = nullptr;
  int64_t workspace_bytes = 0;
};

// Queued on `lane`, a stream of the same device, which may be `keeper`: plans stay with the latter.
// Errors: UNIMPLEMENTED the library has no kernel; RESOURCE_EXHAUSTED it needs more workspace;
// INTERNAL.
absl::Status Sdpa(const SdpaProblem& problem, const SdpaOperands& operands, hetero::Stream& keeper,
                  hetero::Stream& lane);

}  // namespace hetero::cuda

#endif  // HETERO_TENSOR_OPS_ATTENTION_SDPA_CUDNN_H_
