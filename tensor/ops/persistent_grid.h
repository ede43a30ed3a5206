#ifndef HETERO_TENSOR_OPS_PERSISTENT_GRID_H_
#define HETERO_TENSOR_OPS_PERSISTENT_GRID_H_

// How much of a GPU a stream's persistent kernels take: those of expert_gemm and
// linear_squared_relu on compute capability 9.0, whose blocks stay until there is no work left.
// Kernels that communicate beside one find no place on a multiprocessor that it holds.

#include <algorithm>
#include <memory>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/base/status.h"
#include "hetero/tensor/stream.h"

namespace hetero {

// State of a stream.
class PersistentGrid {
 public:
  static absl::StatusOr<std::unique_ptr<PersistentGrid>> Create(Stream&) {
    return std::make_unique<PersistentGrid>();
  }

  // Of `all` multiprocessors those to use: two at least, a cluster of blocks.
  int Multiprocessors(int all) const { return std::min(all, std::max(all - left_, 2)); }

  void Leave(int multiprocessors) {
    CHECK_GE(multiprocessors, 0);
    left_ = multiprocessors;
  }

 private:
  int left_ = 0;
};

// Persistent kernels that the stream is given from now on leave `count` multiprocessors to others,
// 0 unless called. Their results are the same to the bit. Precondition: count is not negative.
inline absl::Status LeaveMultiprocessors(int count, Stream& stream) {
  HETERO_ASSIGN_OR_RETURN(PersistentGrid* const grid, stream.State<PersistentGrid>());
  grid->Leave(count);
  return absl::OkStatus();
}

}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_PERSISTENT_GRID_H_
