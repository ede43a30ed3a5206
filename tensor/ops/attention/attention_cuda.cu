#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "hetero/tensor/arena.h"
#include "hetero/tensor/event.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/ops/attention/attention.h"
#include "hetero/tensor/ops/attention/head_batches.h"
#include "hetero/tensor/ops/attention/hopper_backward.h"
#include "hetero/tensor/ops/attention/hopper_forward.h"
#include "hetero/tensor/ops/attention/sdpa_cudnn.h"
#include "hetero/tensor/ops/attention/tiled_cuda.h"
#include "hetero/tensor/ops/cuda_kernel.cuh"

namespace hetero::internal {
namespace {

using Element = __nv_bfloat16;

constexpr int kThreads = 256;

// Strides between rows, in elements; those of gradients are 0 in forward.
struct IndexArgs {
  int heads, heads_per_group, head_size;
  int64_t tokens;
  int64_t qkv_stride, o_stride, d_o_stride, d_query_stride, d_key_stride;
  int num_parts;  // of each head in a row of d_key; 0: d_key lies as in qkv
};

struct BatchPieces {
  SegmentPiece pieces[HeadBatch::kMaxPieces];
};

// The first row of a lane's index holds the lengths of queries and of keys, the others an offset
// each.
struct BatchIndex {
  int32_t* query_lengths;
  int32_t* key_lengths;
  int64_t* offsets;
};

BatchIndex IndexOfLane(const TensorView& index_LXB, int lane, int64_t capacity) {
  int64_t* const rows = index_LXB.data<int64_t>() + lane * index_LXB.stride(0);
  auto* const lengths = reinterpret_cast<int32_t*>(rows);
  return {lengths, lengths + capacity, rows + index_LXB.dim(2)};
}

__global__ __launch_bounds__(kThreads) void IndexKernel(const __grid_constant__ BatchPieces batch,
                                                        IndexArgs args, int first_head,
                                                        int num_entries, int capacity,
                                                        BatchIndex index) {
  const int e = blockIdx.x * kThreads + threadIdx.x;
  if (e > capacity) return;
  SegmentPiece piece;
  int head = 0;
  if (e < num_entries) {
    piece = batch.pieces[(first_head + e) / args.heads];
    head = (first_head + e) % args.heads;
  }
  if (e < capacity) {
    index.query_lengths[e] = piece.length;
    index.key_lengths[e] = piece.key_length;
  }
  const int group = head / args.heads_per_group;
  const int64_t size = args.head_size;
  const int64_t query = (group * (args.heads_per_group + 2) + head % args.heads_per_group) * size;
  const int64_t key = (group * (args.heads_per_group + 2) + args.heads_per_group) * size;
  const int64_t d_key = args.num_parts == 0 ? key : (head * args.num_parts + piece.part) * 2 * size;
  const auto place = [&](cuda::SdpaOffset which, int64_t row, int64_t stride, int64_t column) {
    index.offsets[which * (int64_t{capacity} + 1) + e] = row * stride + column;
  };
  place(cuda::kQueryOffset, piece.begin, args.qkv_stride, query);
  place(cuda::kKeyOffset, piece.key_begin, args.qkv_stride, key);
  place(cuda::kOutOffset, piece.begin, args.o_stride, head * size);
  place(cuda::kLseOffset, piece.begin, 1, head * args.tokens);
  place(cuda::kDOutOffset, piece.begin, args.d_o_stride, head * size);
  place(cuda::kDQueryOffset, piece.begin, args.d_query_stride, query);
  place(cuda::kDKeyOffset, piece.key_begin, args.d_key_stride, d_key);
}

// d_qkv's key and value of a group = Σ over its heads and their parts, in f32, in their order. A
// thread takes the elements of one access.
__global__ __launch_bounds__(kThreads) void SumPartsKernel(const Element* partial,
                                                           int64_t partial_stride, Element* d_qkv,
                                                           int64_t d_qkv_stride, int num_groups,
                                                           int heads_per_group, int num_parts,
                                                           int head_size, int64_t num_vectors) {
  constexpr int kWidth = cuda::kFullWidth<Element>;
  const int64_t n = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (n >= num_vectors) return;
  const int columns = 2 * head_size;  // of a key and its value
  const int vectors = columns / kWidth;
  const int column = static_cast<int>(n % vectors) * kWidth;
  const int group = static_cast<int>(n / vectors % num_groups);
  const int64_t row = n / vectors / num_groups;
  const int count = heads_per_group * num_parts;
  const Element* from = partial + row * partial_stride + int64_t{group} * count * columns;
  float sum[kWidth] = {};
#pragma unroll 4
  for (int i = 0; i < count; ++i) {
    float values[kWidth];
    cuda::Load(from + i * columns + column, values);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) sum[j] += values[j];
  }
  const int slot = group * (heads_per_group + 2) + heads_per_group;
  cuda::Store(sum, d_qkv + row * d_qkv_stride + int64_t{slot} * head_size + column);
}

absl::Status SumParts(const AttentionShape& shape, int num_parts, const TensorView& partial_TX,
                      const TensorView& d_qkv, Stream& stream) {
  const int64_t num_vectors =
      partial_TX.num_elements() / (shape.heads_per_group * num_parts) / cuda::kFullWidth<Element>;
  const cuda::LaunchShape launch = {.grid = cuda::NumBlocks(num_vectors, kThreads),
                                    .block = kThreads};
  return HETERO_CUDA_LAUNCH(SumPartsKernel, launch, stream, partial_TX.data<Element>(),
                            partial_TX.stride(0), d_qkv.data<Element>(), d_qkv.stride(0),
                            static_cast<int>(shape.num_groups),
                            static_cast<int>(shape.heads_per_group), num_parts,
                            static_cast<int>(shape.head_size), num_vectors);
}

// Streams that run side by side between two points of the stream they belong to. They have no
// memory of their own: what works on them takes its scratch from that stream before they start.
class Lanes {
 public:
  static absl::StatusOr<std::unique_ptr<Lanes>> Create(Stream& stream) {
    auto lanes = std::make_unique<Lanes>();
    HETERO_ASSIGN_OR_RETURN(lanes->start_, Event::Create(stream.device()));
    for (Lane& lane : lanes->lanes_) {
      HETERO_ASSIGN_OR_RETURN(lane.stream, Stream::Create(stream.device(), lanes->no_memory_));
      HETERO_ASSIGN_OR_RETURN(lane.end, Event::Create(stream.device()));
    }
    return lanes;
  }

  absl::Status Start(Stream& stream) {
    HETERO_RETURN_IF_ERROR(start_.Record(stream));
    for (Lane& lane : lanes_) HETERO_RETURN_IF_ERROR(start_.MakeWait(*lane.stream));
    return absl::OkStatus();
  }
  Stream& operator[](int lane) { return *lanes_[lane].stream; }
  absl::Status End(Stream& stream) {
    for (Lane& lane : lanes_) {
      HETERO_RETURN_IF_ERROR(lane.end.Record(*lane.stream));
      HETERO_RETURN_IF_ERROR(lane.end.MakeWait(stream));
    }
    return absl::OkStatus();
  }

 private:
  struct Lane {
    std::unique_ptr<Stream> stream;
    Event end;
  };

  Arena no_memory_ = Arena::Counting(MemoryLabel::kWorkspace);
  Event start_;
  std::array<Lane, HeadBatches::kMaxLanes> lanes_;
};

// What changes from call to call is added to `problem` and `operands`.
absl::Status RunBatches(const AttentionShape& shape, const std::vector<HeadBatch>& batches,
                        const IndexArgs& index_args, cuda::SdpaProblem problem,
                        cuda::SdpaOperands operands, const AttentionCudaScratch& scratch,
                        Stream& stream) {
  problem.causal = shape.causal;
  problem.head_size = shape.head_size;
  problem.scale = shape.scale;
  const auto run = [&](const HeadBatch& batch, Stream& lane) -> absl::Status {
    const BatchIndex index = IndexOfLane(scratch.index_LXB, batch.lane, batch.capacity);
    BatchPieces pieces;
    std::ranges::copy(batch.pieces, pieces.pieces);
    const cuda::LaunchShape launch = {.grid = cuda::NumBlocks(batch.capacity + 1, kThreads),
                                      .block = kThreads};
    HETERO_RETURN_IF_ERROR(HETERO_CUDA_LAUNCH(
        IndexKernel, launch, lane, pieces, index_args, static_cast<int>(batch.first_head),
        static_cast<int>(batch.num_entries), static_cast<int>(batch.capacity), index));
    problem.batch = batch.capacity;
    problem.query_length = batch.length;
    problem.key_length = batch.key_length;
    operands.query_lengths = index.query_lengths;
    operands.key_lengths = index.key_lengths;
    operands.offsets = index.offsets;
    operands.workspace_bytes =
        scratch.library.num_bytes() / batch.num_lanes / Buffer::kAlignment * Buffer::kAlignment;
    operands.workspace =
        static_cast<char*>(scratch.library.address()) + batch.lane * operands.workspace_bytes;
    return cuda::Sdpa(problem, operands, stream, lane);
  };

  if (batches.size() == 1) return run(batches.front(), stream);
  HETERO_ASSIGN_OR_RETURN(Lanes* const lanes, stream.State<Lanes>());
  for (auto batch = batches.begin(); batch != batches.end();) {
    // Batches of another number of lanes have other parts of the workspace.
    const int num_lanes = batch->num_lanes;
    HETERO_RETURN_IF_ERROR(lanes->Start(stream));
    for (; batch != batches.end() && batch->num_lanes == num_lanes; ++batch) {
      HETERO_RETURN_IF_ERROR(run(*batch, (*lanes)[batch->lane]));
    }
    HETERO_RETURN_IF_ERROR(lanes->End(stream));
  }
  return absl::OkStatus();
}

IndexArgs IndexOf(const AttentionShape& shape, const ConstTensorView& qkv,
                  const ConstTensorView& o) {
  return {.heads = static_cast<int>(shape.num_groups * shape.heads_per_group),
          .heads_per_group = static_cast<int>(shape.heads_per_group),
          .head_size = static_cast<int>(shape.head_size),
          .tokens = qkv.dim(0),
          .qkv_stride = qkv.stride(0),
          .o_stride = o.stride(0)};
}

}  // namespace

absl::Status AttentionForwardCuda(const AttentionForwardArgs& args,
                                  const AttentionCudaScratch& scratch, Stream& stream) {
  if (!scratch.forward_list_X.is_null()) {
    return AttentionForwardHopper(args, scratch.forward_list_X, stream);
  }
  if (scratch.library.is_null()) return AttentionForwardTiled(args, stream);
  const auto* const qkv = args.qkv.data<Element>();
  return RunBatches(args.shape, HeadBatches(args.shape, /*backward=*/false).Cut(),
                    IndexOf(args.shape, args.qkv, args.o),
                    {.qkv_stride = args.qkv.stride(0), .o_stride = args.o.stride(0)},
                    {.query = qkv,
                     .key = qkv,
                     .value = qkv + args.shape.head_size,
                     .out = args.o.address(),
                     .lse = args.lse_HT.address()},
                    scratch, stream);
}

absl::Status AttentionBackwardCuda(const AttentionBackwardArgs& args,
                                   const AttentionCudaScratch& scratch, Stream& stream) {
  if (!scratch.hopper.is_null()) return AttentionBackwardHopper(args, scratch.hopper, stream);
  if (scratch.library.is_null()) return AttentionBackwardTiled(args, scratch.delta_HT, stream);
  const AttentionShape& shape = args.shape;
  const HeadBatches cutter(shape, /*backward=*/true);
  const std::vector<HeadBatch> batches = cutter.Cut();
  const bool has_parts = std::ranges::any_of(batches, [](const HeadBatch& batch) {
    return std::ranges::any_of(batch.pieces, [](const SegmentPiece& p) { return p.part > 0; });
  });
  const int num_parts = has_parts ? static_cast<int>(cutter.num_parts()) : 1;
  const bool sums = shape.heads_per_group * num_parts > 1;
  const TensorView d_key =
      sums ? scratch.partial_TX.Columns(
                 0, shape.num_groups * shape.heads_per_group * num_parts * 2 * shape.head_size)
           : args.d_qkv;
  if (has_parts) {
    // Shorter segments have fewer parts.
    HETERO_RETURN_IF_CUDA_ERROR(cudaMemsetAsync(scratch.partial_TX.address(), 0,
                                                scratch.partial_TX.num_bytes(),
                                                static_cast<cudaStream_t>(stream.handle())));
  }
  const auto* const qkv = args.qkv.data<Element>();
  IndexArgs index = IndexOf(args.shape, args.qkv, args.o);
  index.d_o_stride = args.d_o.stride(0);
  index.d_query_stride = args.d_qkv.stride(0);
  index.d_key_stride = d_key.stride(0);
  index.num_parts = sums ? num_parts : 0;
  HETERO_RETURN_IF_ERROR(RunBatches(shape, batches, index,
                                    {.backward = true,
                                     .qkv_stride = index.qkv_stride,
                                     .o_stride = index.o_stride,
                                     .d_o_stride = index.d_o_stride,
                                     .d_query_stride = index.d_query_stride,
                                     .d_key_stride = index.d_key_stride},
                                    {.query = qkv,
                                     .key = qkv,
                                     .value = qkv + shape.head_size,
                                     .out = args.o.address(),
                                     .lse = args.lse_HT.address(),
                                     .d_out = args.d_o.address(),
                                     .d_query = args.d_qkv.address(),
                                     .d_key = d_key.address(),
                                     .d_value = d_key.data<Element>() + shape.head_size},
                                    scratch, stream));
  if (!sums) return absl::OkStatus();
  return SumParts(shape, num_parts, d_key, args.d_qkv, stream);
}

}  // namespace hetero::internal
