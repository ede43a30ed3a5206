#include "hetero/tensor/ops/attention/attention.h"

#include <algorithm>
#include <initializer_list>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/rounding.h"
#include "hetero/base/status.h"
#include "hetero/tensor/dtype.h"
#include "hetero/tensor/ops/attention/head_batches.h"
#include "hetero/tensor/ops/attention/hopper_backward.h"
#include "hetero/tensor/ops/attention/hopper_forward.h"
#include "hetero/tensor/ops/attention/sdpa_cudnn.h"
#include "hetero/tensor/ops/attention/tiled_cuda.h"
#include "hetero/tensor/ops/dispatch.h"
#include "hetero/tensor/ops/hopper_device.h"
#include "hetero/tensor/validate.h"

namespace hetero {
namespace {

using internal::kAttentionPad;
using internal::kAttentionQueryRows;
using internal::PaddedForAttention;

// An odd number of vectors, so that the rows of a tile do not share one set of the cache.
int64_t KeyColumns(int64_t longest) {
  return (CeilDiv(longest, kAttentionPad) | 1) * kAttentionPad;
}

absl::Status Validate(const AttentionShape& shape, int64_t num_tokens) {
  if (shape.num_groups < 1 || shape.heads_per_group < 1 || shape.head_size < 1) {
    return absl::InvalidArgumentError(absl::StrCat("attention of ", shape.num_groups, " groups of ",
                                                   shape.heads_per_group, " query heads of size ",
                                                   shape.head_size, "; each must be at least 1"));
  }
  if (!(shape.scale > 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("attention scale is ", shape.scale, "; it must be positive"));
  }
  const std::span<const int32_t> segments = shape.segments;
  if (segments.empty() || segments.front() != 0 || segments.back() != num_tokens) {
    return absl::InvalidArgumentError(absl::StrCat(
        "segments has ", segments.size(), " offsets",
        segments.empty() ? "" : absl::StrCat(" from ", segments.front(), " to ", segments.back()),
        "; expected offsets from 0 to ", num_tokens, ", the rows of qkv"));
  }
  if (const auto drop = std::ranges::is_sorted_until(segments); drop != segments.end()) {
    return absl::InvalidArgumentError(absl::StrCat("segments[", drop - segments.begin(), "] is ",
                                                   *drop, " after ", *(drop - 1),
                                                   "; offsets must not fall"));
  }
  return absl::OkStatus();
}

struct Extents {
  int64_t tokens, heads, qkv_columns, o_columns;
};

Extents ExtentsOf(const AttentionShape& shape, const ConstTensorView& qkv) {
  const int64_t heads = shape.num_groups * shape.heads_per_group;
  return {.tokens = qkv.dim(0),
          .heads = heads,
          .qkv_columns = (heads + 2 * shape.num_groups) * shape.head_size,
          .o_columns = heads * shape.head_size};
}

// Pairs of a query and a key it sees, over all heads.
double NumPairs(const AttentionShape& shape) {
  double pairs = 0;
  for (size_t s = 0; s + 1 < shape.segments.size(); ++s) {
    const double length = shape.segments[s + 1] - shape.segments[s];
    pairs += shape.causal ? length * (length + 1) / 2 : length * length;
  }
  return pairs * shape.num_groups * shape.heads_per_group;
}

int64_t LongestSegment(std::span<const int32_t> segments) {
  int64_t longest = 0;
  for (size_t s = 0; s + 1 < segments.size(); ++s) {
    longest = std::max<int64_t>(longest, segments[s + 1] - segments[s]);
  }
  return longest;
}

absl::StatusOr<internal::AttentionForwardScratch> ForwardScratch(const AttentionShape& shape,
                                                                 DType dtype, Arena& workspace) {
  const int64_t size = shape.head_size;
  const int64_t longest = LongestSegment(shape.segments);
  internal::AttentionForwardScratch scratch;
  HETERO_ASSIGN_OR_RETURN(scratch.key_DLp, workspace.Allocate(dtype, {size, KeyColumns(longest)}));
  HETERO_ASSIGN_OR_RETURN(scratch.value_LDp,
                          workspace.Allocate(dtype, {longest, PaddedForAttention(size)}));
  HETERO_ASSIGN_OR_RETURN(scratch.score_QLp,
                          workspace.Allocate(dtype, {kAttentionQueryRows, KeyColumns(longest)}));
  HETERO_ASSIGN_OR_RETURN(
      scratch.out_QDp, workspace.Allocate(dtype, {kAttentionQueryRows, PaddedForAttention(size)}));
  return scratch;
}

absl::StatusOr<internal::AttentionBackwardScratch> BackwardScratch(const AttentionShape& shape,
                                                                   DType dtype, Arena& workspace) {
  const int64_t size = shape.head_size;
  const int64_t longest = LongestSegment(shape.segments);
  internal::AttentionBackwardScratch scratch;
  for (TensorView* view : {&scratch.key_DLp, &scratch.value_DLp}) {
    HETERO_ASSIGN_OR_RETURN(*view, workspace.Allocate(dtype, {size, KeyColumns(longest)}));
  }
  for (TensorView* view : {&scratch.key_LDp, &scratch.d_key_LDp, &scratch.d_value_LDp}) {
    HETERO_ASSIGN_OR_RETURN(*view, workspace.Allocate(dtype, {longest, PaddedForAttention(size)}));
  }
  for (TensorView* view : {&scratch.probability_QLp, &scratch.d_score_QLp}) {
    HETERO_ASSIGN_OR_RETURN(*view,
                            workspace.Allocate(dtype, {kAttentionQueryRows, KeyColumns(longest)}));
  }
  for (TensorView* view : {&scratch.query_QDp, &scratch.d_out_QDp, &scratch.d_query_QDp}) {
    HETERO_ASSIGN_OR_RETURN(
        *view, workspace.Allocate(dtype, {kAttentionQueryRows, PaddedForAttention(size)}));
  }
  return scratch;
}

// Whether every row starts on a 16-byte boundary.
bool RowsAreAligned(std::initializer_list<ConstTensorView> views) {
  return std::ranges::all_of(views, [](const ConstTensorView& view) {
    return reinterpret_cast<uintptr_t>(view.address()) % 16 == 0 &&
           view.stride(0) * SizeOf(view.dtype()) % 16 == 0;
  });
}

bool SuitsCudnn(const AttentionShape& shape, std::initializer_list<ConstTensorView> views) {
  return views.begin()->dtype() == DType::kBF16 && shape.head_size % 8 == 0 &&
         shape.head_size <= 128 && RowsAreAligned(views);
}

absl::StatusOr<internal::AttentionCudaScratch> CudnnScratch(const AttentionShape& shape,
                                                            bool backward, Arena& workspace) {
  const internal::HeadBatches batches(shape, backward);
  internal::AttentionCudaScratch scratch;
  HETERO_ASSIGN_OR_RETURN(
      scratch.index_LXB,
      workspace.Allocate(DType::kI64, {internal::HeadBatches::kMaxLanes, 1 + cuda::kNumSdpaOffsets,
                                       batches.max_capacity() + 1}));
  if (batches.partial_columns() > 0) {
    HETERO_ASSIGN_OR_RETURN(
        scratch.partial_TX,
        workspace.Allocate(DType::kBF16, {shape.segments.back(), batches.partial_columns()}));
  }
  HETERO_ASSIGN_OR_RETURN(scratch.library,
                          workspace.Allocate(DType::kF32, {batches.library_bytes() / 4}));
  return scratch;
}

// Whether the kernels of compute capability 9.0 run, or in a dry run would. Precondition: cuDNN
// would take the operands.
absl::StatusOr<bool> RunsOnHopper(const AttentionShape& shape, [[maybe_unused]] Stream& stream) {
  if (!internal::SuitsHopperKernels(shape.head_size)) return false;
#ifdef HETERO_CUDA
  if (stream.device().kind == DeviceKind::kCuda) return internal::HasHopperTensorCores(stream);
#endif
  return true;
}

absl::StatusOr<internal::HopperBackwardScratch> HopperScratch(const AttentionShape& shape,
                                                              Arena& workspace) {
  const int64_t tokens = shape.segments.back(), heads = shape.num_groups * shape.heads_per_group;
  const internal::HopperBackwardSizes sizes(shape.head_size, tokens);
  internal::HopperBackwardScratch scratch;
  HETERO_ASSIGN_OR_RETURN(
      scratch.d_query_HTD,
      workspace.Allocate(DType::kF32, {heads, sizes.num_rows, shape.head_size}));
  HETERO_ASSIGN_OR_RETURN(scratch.statistics_HT2,
                          workspace.Allocate(DType::kF32, {heads, sizes.num_rows, 2}));
  HETERO_ASSIGN_OR_RETURN(scratch.turns_X,
                          workspace.Allocate(DType::kI32, {heads * sizes.num_turns + 1}));
  HETERO_ASSIGN_OR_RETURN(scratch.tiles_TX,
                          workspace.Allocate(DType::kI32, {sizes.num_tiles, sizes.kTileInts}));
  return scratch;
}

absl::Status ExpectTiledHeadSize(const AttentionShape& shape) {
  if (shape.head_size <= internal::kMaxTiledHeadSize) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("head_size is ", shape.head_size,
                                                 "; a GPU takes heads of up to ",
                                                 internal::kMaxTiledHeadSize));
}

}  // namespace

absl::Status AttentionForward(const AttentionForwardArgs& args, Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectShape("qkv", args.qkv, {kAnyDim, kAnyDim}));
  HETERO_RETURN_IF_ERROR(Validate(args.shape, args.qkv.dim(0)));
  const Extents extents = ExtentsOf(args.shape, args.qkv);
  const DType dtype = args.qkv.dtype();
  HETERO_RETURN_IF_ERROR(ExpectMatrix("qkv", args.qkv, dtype, extents.tokens, extents.qkv_columns));
  HETERO_RETURN_IF_ERROR(ExpectMatrix("o", args.o, dtype, extents.tokens, extents.o_columns));
  HETERO_RETURN_IF_ERROR(
      ExpectDense("lse", args.lse_HT, ComputeDType(dtype), {extents.heads, extents.tokens}));

  const ArenaScope arena_scope(stream.workspace());
  internal::AttentionForwardScratch cpu_scratch;
  internal::AttentionCudaScratch cuda_scratch;
  if (!stream.device().IsCuda()) {
    HETERO_ASSIGN_OR_RETURN(cpu_scratch, ForwardScratch(args.shape, dtype, stream.workspace()));
  } else {
    HETERO_RETURN_IF_ERROR(ExpectTiledHeadSize(args.shape));
    if (extents.tokens > 0 && SuitsCudnn(args.shape, {args.qkv, args.o})) {
      HETERO_ASSIGN_OR_RETURN(const bool hopper, RunsOnHopper(args.shape, stream));
      if (hopper) {
        HETERO_ASSIGN_OR_RETURN(cuda_scratch.forward_list_X,
                                stream.workspace().Allocate(
                                    DType::kI32, {internal::HopperForwardInts(extents.tokens)}));
      } else {
        HETERO_ASSIGN_OR_RETURN(cuda_scratch,
                                CudnnScratch(args.shape, /*backward=*/false, stream.workspace()));
      }
    }
  }

  OperationScope scope(stream,
                       {"attention.forward", 4.0 * args.shape.head_size * NumPairs(args.shape),
                        1.0 * args.qkv.num_bytes() + args.o.num_bytes()});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::AttentionForwardCpu(args, cpu_scratch),
                         internal::AttentionForwardCuda(args, cuda_scratch, stream));
}

absl::Status AttentionBackward(const AttentionBackwardArgs& args, Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectShape("qkv", args.qkv, {kAnyDim, kAnyDim}));
  HETERO_RETURN_IF_ERROR(Validate(args.shape, args.qkv.dim(0)));
  const Extents extents = ExtentsOf(args.shape, args.qkv);
  const DType dtype = args.qkv.dtype();
  HETERO_RETURN_IF_ERROR(ExpectMatrix("qkv", args.qkv, dtype, extents.tokens, extents.qkv_columns));
  HETERO_RETURN_IF_ERROR(ExpectMatrix("o", args.o, dtype, extents.tokens, extents.o_columns));
  HETERO_RETURN_IF_ERROR(ExpectMatrix("d_o", args.d_o, dtype, extents.tokens, extents.o_columns));
  HETERO_RETURN_IF_ERROR(
      ExpectMatrix("d_qkv", args.d_qkv, dtype, extents.tokens, extents.qkv_columns));
  HETERO_RETURN_IF_ERROR(
      ExpectDense("lse", args.lse_HT, ComputeDType(dtype), {extents.heads, extents.tokens}));

  const ArenaScope arena_scope(stream.workspace());
  internal::AttentionBackwardScratch cpu_scratch;
  internal::AttentionCudaScratch cuda_scratch;
  if (!stream.device().IsCuda()) {
    HETERO_ASSIGN_OR_RETURN(cpu_scratch, BackwardScratch(args.shape, dtype, stream.workspace()));
  } else {
    HETERO_RETURN_IF_ERROR(ExpectTiledHeadSize(args.shape));
    if (extents.tokens > 0 &&
        SuitsCudnn(args.shape, {args.qkv, args.o, args.d_o, ConstTensorView(args.d_qkv)})) {
      HETERO_ASSIGN_OR_RETURN(const bool hopper, RunsOnHopper(args.shape, stream));
      if (hopper) {
        HETERO_ASSIGN_OR_RETURN(cuda_scratch.hopper, HopperScratch(args.shape, stream.workspace()));
      } else {
        HETERO_ASSIGN_OR_RETURN(cuda_scratch,
                                CudnnScratch(args.shape, /*backward=*/true, stream.workspace()));
      }
    } else {
      HETERO_ASSIGN_OR_RETURN(
          cuda_scratch.delta_HT,
          stream.workspace().Allocate(DType::kF32, {extents.heads, extents.tokens}));
    }
  }

  OperationScope scope(stream,
                       {"attention.backward", 10.0 * args.shape.head_size * NumPairs(args.shape),
                        2.0 * (args.qkv.num_bytes() + args.o.num_bytes())});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::AttentionBackwardCpu(args, cpu_scratch),
                         internal::AttentionBackwardCuda(args, cuda_scratch, stream));
}

}  // namespace hetero
