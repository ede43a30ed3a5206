#include <algorithm>
#include <array>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "hetero/base/status.h"
#include "hetero/tensor/ops/attention/backward_tiles.h"
#include "hetero/tensor/ops/attention/hopper_backward.cuh"
#include "hetero/tensor/ops/attention/hopper_backward.h"
#include "hetero/tensor/ops/attention/hopper_operands.cuh"
#include "hetero/tensor/ops/attention/hopper_queries.cuh"

namespace hetero::internal {
namespace {

using Element = __nv_bfloat16;

static_assert(kBlockRows<80> == HopperBlockRows(80) && kBlockRows<128> == HopperBlockRows(128));
// What a block of compute capability 9.0 can have.
static_assert(std::max(sizeof(BackwardShared<Backward<80, false>>),
                       sizeof(BackwardShared<Backward<128, false>>)) <= 227 << 10);

template <typename B>
absl::StatusOr<BackwardMaps> MakeMaps(const AttentionBackwardArgs& args, Stream& stream) {
  HETERO_ASSIGN_OR_RETURN(const TensorMaps* const maps, stream.State<TensorMaps>());
  BackwardMaps made;
  HETERO_RETURN_IF_ERROR(MakeMap<typename B::Queries>(*maps, args.qkv, made.queries, B::kRows));
  HETERO_RETURN_IF_ERROR(MakeMap<typename B::Keys>(*maps, args.qkv, made.keys, kBackwardKeys));
  HETERO_RETURN_IF_ERROR(MakeMap<typename B::Queries>(*maps, args.d_o, made.d_out, B::kRows));
  return made;
}

template <typename B>
absl::Status Run(const AttentionBackwardArgs& args, const HopperBackwardScratch& scratch,
                 Stream& stream) {
  constexpr double kLog2E = 1.4426950408889634;
  const AttentionShape& shape = args.shape;
  const int64_t tokens = args.qkv.dim(0), heads = shape.num_groups * shape.heads_per_group;
  const HopperBackwardSizes sizes(B::kSize, tokens);
  const std::vector<BackwardTile> tiles = BackwardTiles(shape, B::kRows);
  auto* const device_tiles = reinterpret_cast<BackwardTile*>(scratch.tiles_TX.address());
  auto* const turns = reinterpret_cast<uint32_t*>(scratch.turns_X.address());
  const BackwardProblem problem = {
      .tiles = device_tiles,
      .statistics = scratch.statistics_HT2.template data<float>(),
      .d_queries = scratch.d_query_HTD.template data<float>(),
      .turns = turns,
      .next = turns + heads * sizes.num_turns,
      .d_qkv = args.d_qkv.template data<Element>(),
      .d_qkv_stride = args.d_qkv.stride(0),
      .num_tiles = static_cast<int>(tiles.size()),
      .num_groups = static_cast<int>(shape.num_groups),
      .heads_per_group = static_cast<int>(shape.heads_per_group),
      .num_blocks = static_cast<int>(sizes.num_blocks),
      .turns_of_head = static_cast<int>(sizes.num_blocks + std::ssize(tiles)),
      .scale = static_cast<float>(shape.scale),
      .scale_in_bits = static_cast<float>(shape.scale * kLog2E)};
  const PrepareArgs prepare = {.o = cuda::RowsOf<Element>(args.o),
                               .d_o = cuda::RowsOf<Element>(args.d_o),
                               .lse = args.lse_HT.template data<float>(),
                               .statistics = scratch.statistics_HT2.template data<float>(),
                               .tokens = static_cast<int>(tokens)};
  HETERO_ASSIGN_OR_RETURN(const BackwardMaps maps, MakeMaps<B>(args, stream));
  HETERO_ASSIGN_OR_RETURN(const cuda::DeviceFacts* const facts, stream.State<cuda::DeviceFacts>());
  HETERO_RETURN_IF_ERROR(CopyList<BackwardTile>(tiles, device_tiles, stream));
  const cuda::LaunchShape of_blocks = {
      .grid = {static_cast<unsigned>(sizes.num_blocks), static_cast<unsigned>(heads)},
      .block = kQueryThreads};
  HETERO_RETURN_IF_ERROR(HETERO_CUDA_LAUNCH(PrepareKernel<B>, of_blocks, stream, prepare, problem));
  const int64_t num_blocks =
      std::min<int64_t>(facts->num_multiprocessors, std::ssize(tiles) * shape.num_groups);
  const cuda::LaunchShape persistent = {.grid = static_cast<unsigned>(num_blocks),
                                        .block = kBackwardThreads,
                                        .shared_bytes = sizeof(BackwardShared<B>)};
  HETERO_RETURN_IF_ERROR(HETERO_CUDA_LAUNCH(BackwardKernel<B>, persistent, stream, maps, problem));
  return HETERO_CUDA_LAUNCH(FinishKernel<B>, of_blocks, stream, problem, static_cast<int>(tokens));
}

}  // namespace

absl::Status AttentionBackwardHopper(const AttentionBackwardArgs& args,
                                     const HopperBackwardScratch& scratch, Stream& stream) {
  if (args.shape.head_size == 128) {
    return args.shape.causal ? Run<Backward<128, true>>(args, scratch, stream)
                             : Run<Backward<128, false>>(args, scratch, stream);
  }
  return args.shape.causal ? Run<Backward<80, true>>(args, scratch, stream)
                           : Run<Backward<80, false>>(args, scratch, stream);
}

}  // namespace hetero::internal
