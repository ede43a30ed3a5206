#ifndef HETERO_CKPT_DENSE_COPY_H_
#define HETERO_CKPT_DENSE_COPY_H_

// Copies between views and parts of dense boxes in host memory, by their runs.

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "hetero/base/index_range.h"
#include "hetero/ckpt/plan/runs.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

// `host` has the elements `range` of a dense box, in the type of `local`. `runs`: of RunsOf for
// both. Queued on `stream`, the device of `local`, as by tensor/copy.h. The number of elements
// copied is added to `copied`.
absl::Status CopyToDense(const ConstTensorView& local, std::span<const RunRows> runs,
                         IndexRange range, void* host, Stream& stream, int64_t& copied);
absl::Status CopyFromDense(const void* host, IndexRange range, std::span<const RunRows> runs,
                           const TensorView& local, Stream& stream, int64_t& copied);

}  // namespace hetero

#endif  // HETERO_CKPT_DENSE_COPY_H_
