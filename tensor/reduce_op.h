#ifndef HETERO_TENSOR_REDUCE_OP_H_
#define HETERO_TENSOR_REDUCE_OP_H_

#include <cstdint>
#include <string_view>

namespace hetero {

// How equal-shaped tensors become one, element by element. Maximum and minimum keep a NaN.
enum class ReduceOp : uint8_t { kSum, kMax, kMin };

constexpr std::string_view Name(ReduceOp op) {
  switch (op) {
    case ReduceOp::kSum:
      return "sum";
    case ReduceOp::kMax:
      return "max";
    case ReduceOp::kMin:
      return "min";
  }
  return "?";
}

}  // namespace hetero

#endif  // HETERO_TENSOR_REDUCE_OP_H_
