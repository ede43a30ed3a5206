#include <algorithm>
#include <vector>

#include "hetero/base/status.h"
#include "hetero/tensor/ops/attention/hopper_forward.cuh"
#include "hetero/tensor/ops/attention/hopper_forward.h"
#include "hetero/tensor/ops/attention/hopper_operands.cuh"

namespace hetero::internal {
namespace {

// What a block of compute capability 9.0 can have.
static_assert(std::max(sizeof(ForwardShared<Forward<80, false>>),
                       sizeof(ForwardShared<Forward<128, false>>)) <= 227 << 10);

template <typename F>
absl::Status Run(const AttentionForwardArgs& args, const TensorView& list_X, Stream& stream) {
  constexpr double kLog2E = 1.4426950408889634;
  const AttentionShape& shape = args.shape;
  const int64_t heads = shape.num_groups * shape.heads_per_group;
  const std::vector<ForwardTile> tiles = ForwardTiles(shape, F::kRows);
  auto* const next = reinterpret_cast<uint32_t*>(list_X.address());
  auto* const device_tiles = reinterpret_cast<ForwardTile*>(next + 1);
  const ForwardProblem problem = {.tiles = device_tiles,
                                  .next = next,
                                  .o = args.o.data<__nv_bfloat16>(),
                                  .o_stride = args.o.stride(0),
                                  .lse = args.lse_HT.data<float>(),
                                  .tokens = args.qkv.dim(0),
                                  .num_tiles = static_cast<int>(tiles.size()),
                                  .heads = static_cast<int>(heads),
                                  .heads_per_group = static_cast<int>(shape.heads_per_group),
                                  .scale_in_bits = static_cast<float>(shape.scale * kLog2E)};
  HETERO_ASSIGN_OR_RETURN(const TensorMaps* const maker, stream.State<TensorMaps>());
  ForwardMaps maps;
  HETERO_RETURN_IF_ERROR(MakeMap<typename F::Queries>(*maker, args.qkv, maps.queries, F::kRows));
  HETERO_RETURN_IF_ERROR(MakeMap<typename F::Keys>(*maker, args.qkv, maps.keys, F::kKeys));
  HETERO_ASSIGN_OR_RETURN(const cuda::DeviceFacts* const facts, stream.State<cuda::DeviceFacts>());
  HETERO_RETURN_IF_CUDA_ERROR(
      cudaMemsetAsync(next, 0, sizeof(*next), static_cast<cudaStream_t>(stream.handle())));
  HETERO_RETURN_IF_ERROR(CopyList<ForwardTile>(tiles, device_tiles, stream));
  const int64_t num_blocks =
      std::min<int64_t>(facts->num_multiprocessors, std::ssize(tiles) * heads);
  const cuda::LaunchShape persistent = {.grid = static_cast<unsigned>(num_blocks),
                                        .block = F::kThreads,
                                        .shared_bytes = sizeof(ForwardShared<F>)};
  return HETERO_CUDA_LAUNCH(ForwardKernel<F>, persistent, stream, maps, problem);
}

}  // namespace

absl::Status AttentionForwardHopper(const AttentionForwardArgs& args, const TensorView& list_X,
                                    Stream& stream) {
  if (args.shape.head_size == 128) {
    return args.shape.causal ? Run<Forward<128, true>>(args, list_X, stream)
                             : Run<Forward<128, false>>(args, list_X, stream);
  }
  return args.shape.causal ? Run<Forward<80, true>>(args, list_X, stream)
                           : Run<Forward<80, false>>(args, list_X, stream);
}

}  // namespace hetero::internal
