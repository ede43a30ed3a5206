// The bf16 products on the tensor cores of compute capability 9.0, their offsets read on the
// device.
//
// The tiles of all experts are taken by a persistent grid (tile_queue.cuh). A pair of blocks, a
// cluster, computes neighbouring tiles of 256 x 192 and shares what it reads of a: each loads half
// and multicasts it.
// In a block one warp queues tensor copies into a ring of stages, two groups of four warps multiply
// out of it (wgmma) into registers. Tensor maps span whole operands, so that one of each serves
// all experts: what a tile reads of the next expert's rows meets only results that are not stored.
// Where rows are what is summed, the last stage of an expert is cleared past its end.
//
// Floors for R rows: 2 R K N operations; 2 R (K + N) + 2 E K N bytes, for weight gradients
// 2 R (K + N) + 4 E K N, twice the latter where they accumulate. With 3000 rows an expert and K, N
// of 2000, arithmetic takes five times longer than memory. A tile of 256 x 192 reads
// 2 (256 / 2 + 192) bytes for 2 x 256 x 192 operations of each place of the depth: 150 operations
// for a byte out of L2. On an H200 the loop over stages takes 1.02 times what wgmma's rate allows;
// storing adds 5% of it where 2700 terms are summed (9% for weight gradients, of 3000). The clock
// then is what the chip's power allows.
//
// Each element is one sum in an order that its depth alone fixes and is stored by one block: the
// same call gives the same bits, and a row's result does not depend on other rows.

#include <cuda_runtime_api.h>

#include <algorithm>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/base/status.h"
#include "hetero/tensor/cuda/status.h"
#include "hetero/tensor/ops/cuda_rows.cuh"
#include "hetero/tensor/ops/expert_gemm/expert_multiply.cuh"
#include "hetero/tensor/ops/expert_gemm/expert_stores.cuh"
#include "hetero/tensor/ops/expert_gemm/tensor_maps.cuh"
#include "hetero/tensor/ops/expert_gemm/tile_queue.cuh"
#include "hetero/tensor/ops/persistent_grid.h"

namespace hetero::internal {
namespace expert_gemm {
namespace {

constexpr int kSumThreads = 256;

template <Kind kKind, Epilogue kEpilogue>
__device__ void MultiplyAndStore(Shared<kKind>& shared, const Maps& maps, const Problem& problem) {
  constexpr bool kWeight = kKind == Kind::kBackwardWeight;
  const int group = threadIdx.x / kGroupThreads;
  unsigned char* const staging = shared.staging[threadIdx.x / kWarpSize];
  Position<Shared<kKind>::kStages> position;
  int turn = 0;
  Walk<kKind> walk(problem);
  TileReader</*kWarp=*/true> reader(shared.tiles);
  for (Tile tile; walk.Find(reader.Take(), tile);) {
    const int num_stages = walk.NumStages(tile);
    if (kWeight && problem.accumulate && num_stages == 0) continue;
    float sums[kPanelsOfGroup][kSums];
#pragma unroll
    for (auto& panel : sums) {
#pragma unroll
      for (float& sum : panel) sum = 0;
    }
    // The group's panels that have rows of c.
    const int rows = walk.NumRows(tile) - group * kSide;
    const int count = rows <= 0 ? 0 : rows <= kGroups * kSide ? 1 : 2;
    if (count == 2) {
      MultiplyTile<kKind, 2>(shared, num_stages, tile.rows, position, sums);
    } else if (count == 1) {
      MultiplyTile<kKind, 1>(shared, num_stages, tile.rows, position, sums);
    } else {
      MultiplyTile<kKind, 0>(shared, num_stages, tile.rows, position, sums);
    }
#pragma unroll
    for (int panel = 0; panel < kPanelsOfGroup; ++panel) {
      if (panel >= count) break;
      if constexpr (kWeight) {
        StoreSums(maps, problem, tile, group + panel * kGroups, sums[panel], staging, turn);
      } else {
        StoreRows<kEpilogue>(problem, tile, group + panel * kGroups, sums[panel], staging);
      }
    }
  }
  // Copies still read what the block owns.
  if (kWeight && threadIdx.x % kWarpSize == 0) ptx::cp_async_bulk_wait_group_read(ptx::n32_t<0>());
}

template <Kind kKind>
__device__ void LoadTiles(Shared<kKind>& shared, const Maps& maps, const Problem& problem) {
  Position<Shared<kKind>::kStages> position;
  Walk<kKind> walk(problem);
  TileSource source(shared.tiles, problem);
  TileReader</*kWarp=*/false> reader(shared.tiles);
  source.PutNext();
  for (Tile tile; walk.Find(reader.Take(), tile);) {
    source.PutNext();
    const int num_stages = walk.NumStages(tile);
    for (int step = 0; step < num_stages; ++step) {
      Wait(&shared.empty[position.stage], position.parity ^ 1);
      Fill<kKind>(shared, maps, tile, step, position.stage);
      position.Advance();
    }
  }
  source.Finish(walk.NumPairs());
}

template <Kind kKind, Epilogue kEpilogue>
__global__ __cluster_dims__(kCluster, 1, 1)
    __launch_bounds__(kThreads, 1) void ExpertGemmKernel(const __grid_constant__ Maps maps,
                                                         const Problem problem) {
  extern __shared__ __align__(1024) unsigned char memory[];
  auto& shared = *reinterpret_cast<Shared<kKind>*>(memory);
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < Shared<kKind>::kStages; ++stage) {
      ptx::mbarrier_init(&shared.full[stage], 1);
      ptx::mbarrier_init(&shared.empty[stage], kMathWarps * kCluster);
    }
    InitBarriers(shared.tiles);
    ptx::fence_mbarrier_init(ptx::sem_release, ptx::scope_cluster);
  }
  ptx::barrier_cluster_arrive();
  ptx::barrier_cluster_wait();

  if (threadIdx.x >= kMathThreads) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kLoadRegisters));
    if (threadIdx.x == kMathThreads) LoadTiles(shared, maps, problem);
    __syncwarp();
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kMathRegisters));
    MultiplyAndStore<kKind, kEpilogue>(shared, maps, problem);
  }
  // The other block may still write to this one's memory.
  ptx::barrier_cluster_arrive();
  ptx::barrier_cluster_wait();
}

// State of a stream: what its launches count tiles with, 0 between them.
class TileCounter {
 public:
  static absl::StatusOr<std::unique_ptr<TileCounter>> Create(Stream& stream) {
    auto counter = std::make_unique<TileCounter>();
    HETERO_RETURN_IF_CUDA_ERROR(cudaSetDevice(stream.device().ordinal));
    HETERO_RETURN_IF_CUDA_ERROR(cudaMalloc(&counter->address_, sizeof(int)));
    HETERO_RETURN_IF_CUDA_ERROR(cudaMemsetAsync(counter->address_, 0, sizeof(int),
                                                static_cast<cudaStream_t>(stream.handle())));
    return counter;
  }
  TileCounter() = default;
  TileCounter(const TileCounter&) = delete;
  TileCounter& operator=(const TileCounter&) = delete;
  ~TileCounter() { cudaFree(address_); }

  int* address() const { return static_cast<int*>(address_); }

 private:
  void* address_ = nullptr;
};

// dp = Σ over the parts, in their order.
__global__ __launch_bounds__(kSumThreads) void SumPartsKernel(const float* parts, int num_parts,
                                                              int num_rows, float* dp) {
  const int row = blockIdx.x * kSumThreads + threadIdx.x;
  if (row >= num_rows) return;
  float sum = 0;
  for (int i = 0; i < num_parts; ++i) sum += parts[i * int64_t{num_rows} + row];
  dp[row] = sum;
}

template <Kind kKind, Epilogue kEpilogue = Epilogue::kNone>
absl::Status LaunchProduct(const ExpertProduct& product, Stream& stream) {
  constexpr bool kWeight = kKind == Kind::kBackwardWeight;
  const int64_t r = product.num_rows, k = product.num_inputs, n = product.num_outputs,
                e = product.num_experts;
  HETERO_ASSIGN_OR_RETURN(const TensorMaps* const tensor_maps, stream.State<TensorMaps>());
  Maps maps = {};
  if constexpr (kWeight) {
    HETERO_RETURN_IF_ERROR(tensor_maps->Make<2>(product.a, {n, r}, {kSide, kDepth}, maps.a));
    HETERO_RETURN_IF_ERROR(tensor_maps->Make<2>(product.b, {k, r}, {kSide, kDepth}, maps.b));
    HETERO_RETURN_IF_ERROR(
        tensor_maps->Make<3>(product.c, {k, n, e}, {kRunColumns, kRunRows, 1}, maps.c));
  } else {
    const int64_t depth = product.a.dim(1);
    HETERO_RETURN_IF_ERROR(
        tensor_maps->Make<2>(product.a, {depth, r}, {kDepth, kTileM / kCluster}, maps.a));
    HETERO_RETURN_IF_ERROR(
        kKind == Kind::kForward
            ? tensor_maps->Make<3>(product.b, {k, n, e}, {kDepth, kTileN, 1}, maps.b)
            : tensor_maps->Make<3>(product.b, {k, n, e}, {kSide, kDepth, 1}, maps.b));
  }
  const ExpertSquaredRelu& relu = product.squared_relu;
  const int64_t columns = product.c.dim(product.c.rank() - 1);
  HETERO_ASSIGN_OR_RETURN(const TileCounter* const counter, stream.State<TileCounter>());
  const Problem problem = {.offsets = cuda::DataOrNull<int32_t>(product.offsets),
                           .num_experts = static_cast<int>(e),
                           .num_outputs = static_cast<int>(n),
                           .columns = static_cast<int>(columns),
                           .depth = static_cast<int>(product.a.dim(1)),
                           .c = kWeight ? nullptr : product.c.data<__nv_bfloat16>(),
                           .accumulate = product.accumulate,
                           .next_tile = counter->address(),
                           .num_rows = static_cast<int>(r),
                           .p = cuda::DataOrNull<float>(relu.p_R),
                           .activated = cuda::DataOrNull<__nv_bfloat16>(relu.activated_RN),
                           .f = cuda::DataOrNull<__nv_bfloat16>(relu.f_RK),
                           .dp_parts = cuda::DataOrNull<float>(relu.dp_parts_XR)};
  HETERO_ASSIGN_OR_RETURN(const cuda::DeviceFacts* const facts, stream.State<cuda::DeviceFacts>());
  HETERO_ASSIGN_OR_RETURN(const PersistentGrid* const grid, stream.State<PersistentGrid>());
  // No more than tiles, as far as the host knows.
  const int64_t tiles_m = kWeight ? e * ((n + kTileM - 1) / kTileM) : r / kTileM + std::min(e, r);
  const int64_t tiles = tiles_m * ((columns + kCluster * kTileN - 1) / (kCluster * kTileN));
  const int64_t clusters =
      std::min<int64_t>(tiles, grid->Multiprocessors(facts->num_multiprocessors) / kCluster);
  const cuda::LaunchShape shape = {.grid = static_cast<unsigned>(clusters * kCluster),
                                   .block = kThreads,
                                   .shared_bytes = sizeof(Shared<kKind>)};
  return HETERO_CUDA_LAUNCH((ExpertGemmKernel<kKind, kEpilogue>), shape, stream, maps, problem);
}

absl::Status LaunchSquaredReluBackward(const ExpertProduct& product, Stream& stream) {
  HETERO_RETURN_IF_ERROR(
      (LaunchProduct<Kind::kBackwardInput, Epilogue::kSquaredReluBackward>(product, stream)));
  const ExpertSquaredRelu& relu = product.squared_relu;
  if (relu.dp_R.is_null()) return absl::OkStatus();
  const cuda::LaunchShape shape = {.grid = cuda::NumBlocks(product.num_rows, kSumThreads),
                                   .block = kSumThreads};
  return HETERO_CUDA_LAUNCH(SumPartsKernel, shape, stream, relu.dp_parts_XR.data<float>(),
                            static_cast<int>(relu.dp_parts_XR.dim(0)),
                            static_cast<int>(product.num_rows), relu.dp_R.data<float>());
}

}  // namespace
}  // namespace expert_gemm

bool FitsTensorCores(const ExpertProduct& product) {
  return product.a.dtype() == DType::kBF16 &&
         std::min({product.num_rows, product.num_inputs, product.num_outputs}) > 0 &&
         cuda::AllowVectors({product.a, product.b, product.c, product.squared_relu.activated_RN,
                             product.squared_relu.f_RK},
                            8);
}

absl::Status ExpertProductOnTensorCores(const ExpertProduct& product, Stream& stream) {
  using expert_gemm::Epilogue, expert_gemm::Kind, expert_gemm::LaunchProduct;
  const bool activates = product.squared_relu.present();
  switch (product.kind) {
    case Kind::kForward:
      return activates ? LaunchProduct<Kind::kForward, Epilogue::kSquaredRelu>(product, stream)
                       : LaunchProduct<Kind::kForward>(product, stream);
    case Kind::kBackwardInput:
      return activates ? expert_gemm::LaunchSquaredReluBackward(product, stream)
                       : LaunchProduct<Kind::kBackwardInput>(product, stream);
    case Kind::kBackwardWeight:
      return LaunchProduct<Kind::kBackwardWeight>(product, stream);
  }
  return absl::OkStatus();
}

}  // namespace hetero::internal
