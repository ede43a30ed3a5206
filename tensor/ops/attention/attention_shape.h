#ifndef HETERO_TENSOR_OPS_ATTENTION_ATTENTION_SHAPE_H_
#define HETERO_TENSOR_OPS_ATTENTION_ATTENTION_SHAPE_H_

#include <cstdint>
#include <span>

namespace hetero {

// What attention.h's operations are told beside their operands.
struct AttentionShape {
  int64_t num_groups = 0;
  int64_t heads_per_group = 0;
  int64_t head_size = 0;
  std::span<const int32_t> segments;  // on the host
  bool causal = false;
  double scale = 0;  // of the scores, 1/√D as a rule
};

}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_ATTENTION_ATTENTION_SHAPE_H_
