// The bf16 products on the tensor cores of compute capability 9.0, their offsets read on the
// device.
//
// A persistent grid walks the tiles of all experts. A pair of blocks, a cluster, computes
// neighbouring tiles of 256 x 192 and shares what it reads of a: each loads half and multicasts it.
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
// storing adds 5% of it where 2700 terms are summed (9% for weight gradients, of 3000), edges and
// the last wave of tiles another 6%. The clock then is what the chip's power allows.
//
// Each element is one sum in an order that its depth alone fixes and is stored by one block: the
// same call gives the same bits, and a row's result does not depend on other rows.

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "cute/arch/mma_sm90_gmma.hpp"
#include "hetero/base/status.h"
#include "hetero/tensor/ops/cuda_rows.cuh"
#include "hetero/tensor/ops/expert_gemm/expert_stores.cuh"
#include "hetero/tensor/ops/expert_gemm/tensor_maps.cuh"

namespace hetero::internal {
namespace expert_gemm {
namespace {

using cute::SM90::GMMA::Major;

constexpr int kSumThreads = 256;

// What wgmma reads: bits 0-13 the address, 16-29 the distance of panels along a major m or n, 32-45
// that of groups of 8 rows, all in units of 16 bytes; bits 62-63 the swizzle, 1 of 128 bytes and 2
// of 64.
template <Major kMajor>
__device__ uint64_t Descriptor(const __nv_bfloat16* from) {
  constexpr uint64_t kPanelBytes = kPanel * sizeof(__nv_bfloat16);
  constexpr uint64_t kRowBytes = (kMajor == Major::K ? kDepth : kSide) * sizeof(__nv_bfloat16);
  constexpr uint64_t kSwizzle = kMajor == Major::K ? 2 : 1;
  // Without the bits that tell the blocks of a cluster apart.
  const uint64_t address = __cvta_generic_to_shared(from) & 0x3ffff;
  return address >> 4 | kPanelBytes >> 4 << 16 | 8 * kRowBytes >> 4 << 32 | kSwizzle << 62;
}

// From one step of 16 of the depth to the next, in a descriptor: along the rows, or down by 16.
template <Major kMajor>
constexpr uint64_t kStep = (kMajor == Major::K ? 16 : 16 * kSide) * sizeof(__nv_bfloat16) >> 4;

template <Major kMajorA, Major kMajorB>
__device__ void Multiply(uint64_t a, uint64_t b, float (&sums)[kSums]) {
  using Instruction = cute::SM90::GMMA::MMA_64x192x16_F32BF16BF16_SS<kMajorA, kMajorB>;
  [&]<size_t... i>(std::index_sequence<i...>) { Instruction::fma(a, b, sums[i]...); }
  (std::make_index_sequence<kSums>());
}

// Keeps the compiler from moving accesses of the sums to where the tensor cores have them.
__device__ void Pin(float (&sums)[kPanelsOfGroup][kSums]) {
#pragma unroll
  for (auto& panel : sums) {
#pragma unroll
    for (float& sum : panel) cute::warpgroup_fence_operand(sum);
  }
}

// Zeros rows [begin, kDepth) of all panels of a stage, by all threads that multiply.
__device__ void ClearRows(Shared<Kind::kBackwardWeight>& shared, int stage, int begin) {
  const int vectors = (kDepth - begin) * (kSide / 8);  // of a panel
  for (int i = threadIdx.x; i < (kPanelsM + kPanelsN) * vectors; i += kMathThreads) {
    const int panel = i / vectors;
    __nv_bfloat16* const rows = panel < kPanelsM ? shared.a[stage] + panel * kPanel
                                                 : shared.b[stage] + (panel - kPanelsM) * kPanel;
    reinterpret_cast<uint4*>(rows + begin * kSide)[i % vectors] = {};
  }
  ptx::fence_proxy_async(ptx::space_shared);
  asm volatile("bar.sync 1, %0;" ::"n"(kMathThreads) : "memory");
}

// Adds a tile's products to the sums of the first kCount panels of the group.
template <Kind kKind, int kCount>
__device__ void MultiplyTile(Shared<kKind>& shared, int num_stages, int rows,
                             Position<Shared<kKind>::kStages>& position,
                             float (&sums)[kPanelsOfGroup][kSums]) {
  constexpr Major kMajorA = kKind == Kind::kBackwardWeight ? Major::MN : Major::K;
  constexpr Major kMajorB = kKind == Kind::kForward ? Major::K : Major::MN;
  const int group = threadIdx.x / kGroupThreads;
  int previous = 0;
  for (int i = 0; i < num_stages; ++i) {
    Wait(&shared.full[position.stage], position.parity);
    if constexpr (kKind == Kind::kBackwardWeight) {
      const int left = rows - i * kDepth;
      if (left < kDepth) ClearRows(shared, position.stage, left);
    }
    if constexpr (kCount > 0) {
      const uint64_t a = Descriptor<kMajorA>(shared.a[position.stage] + group * kPanel);
      const uint64_t b = Descriptor<kMajorB>(shared.b[position.stage]);
      constexpr uint64_t kNextPanel = kGroups * kPanel * sizeof(__nv_bfloat16) >> 4;
      Pin(sums);
      cute::warpgroup_arrive();
#pragma unroll
      for (int k = 0; k < kDepth / 16; ++k) {
#pragma unroll
        for (int panel = 0; panel < kCount; ++panel) {
          Multiply<kMajorA, kMajorB>(a + panel * kNextPanel + k * kStep<kMajorA>,
                                     b + k * kStep<kMajorB>, sums[panel]);
        }
      }
      cute::warpgroup_commit_batch();
      Pin(sums);
      cute::warpgroup_wait<1>();
    }
    if (i > 0) Release(shared, previous);
    previous = position.stage;
    position.Advance();
  }
  if constexpr (kCount > 0) {
    cute::warpgroup_wait<0>();
    Pin(sums);
  }
  if (num_stages > 0) Release(shared, previous);
}

template <Kind kKind, Epilogue kEpilogue>
__device__ void MultiplyAndStore(Shared<kKind>& shared, const Maps& maps, const Problem& problem) {
  constexpr bool kWeight = kKind == Kind::kBackwardWeight;
  const int group = threadIdx.x / kGroupThreads;
  unsigned char* const staging = shared.staging[threadIdx.x / kWarpSize];
  Position<Shared<kKind>::kStages> position;
  int turn = 0;
  Walk<kKind> walk(problem);
  for (Tile tile; walk.Next(tile);) {
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
    ptx::fence_mbarrier_init(ptx::sem_release, ptx::scope_cluster);
  }
  ptx::barrier_cluster_arrive();
  ptx::barrier_cluster_wait();

  if (threadIdx.x >= kMathThreads) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kLoadRegisters));
    if (threadIdx.x == kMathThreads) {
      Position<Shared<kKind>::kStages> position;
      Walk<kKind> walk(problem);
      for (Tile tile; walk.Next(tile);) {
        const int num_stages = walk.NumStages(tile);
        for (int step = 0; step < num_stages; ++step) {
          Wait(&shared.empty[position.stage], position.parity ^ 1);
          Fill<kKind>(shared, maps, tile, step, position.stage);
          position.Advance();
        }
      }
    }
    __syncwarp();
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kMathRegisters));
    MultiplyAndStore<kKind, kEpilogue>(shared, maps, problem);
  }
  // The other block may still write to this one's memory.
  ptx::barrier_cluster_arrive();
  ptx::barrier_cluster_wait();
}

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
  const Problem problem = {.offsets = product.offsets.data<int32_t>(),
                           .num_experts = static_cast<int>(e),
                           .num_outputs = static_cast<int>(n),
                           .columns = static_cast<int>(columns),
                           .depth = static_cast<int>(product.a.dim(1)),
                           .c = kWeight ? nullptr : product.c.data<__nv_bfloat16>(),
                           .accumulate = product.accumulate,
                           .num_rows = static_cast<int>(r),
                           .p = cuda::DataOrNull<float>(relu.p_R),
                           .activated = cuda::DataOrNull<__nv_bfloat16>(relu.activated_RN),
                           .f = cuda::DataOrNull<__nv_bfloat16>(relu.f_RK),
                           .dp_parts = cuda::DataOrNull<float>(relu.dp_parts_XR)};
  HETERO_ASSIGN_OR_RETURN(const cuda::DeviceFacts* const facts, stream.State<cuda::DeviceFacts>());
  // No more than tiles, as far as the host knows.
  const int64_t tiles_m = kWeight ? e * ((n + kTileM - 1) / kTileM) : r / kTileM + std::min(e, r);
  const int64_t tiles = tiles_m * ((columns + kCluster * kTileN - 1) / (kCluster * kTileN));
  const int64_t clusters = std::min<int64_t>(tiles, facts->num_multiprocessors / kCluster);
  const cuda::LaunchShape shape = {.grid = static_cast<unsigned>(clusters * kCluster),
                                   .block = kThreads,
                                   .shared_bytes = sizeof(Shared<kKind>)};
  return HETERO_CUDA_LAUNCH((ExpertGemmKernel<kKind, kEpilogue>), shape, stream, maps, problem);
}

absl::Status LaunchSquaredReluBackward(const ExpertProduct& product, Stream& stream) {
  HETERO_RETURN_IF_ERROR(
      (LaunchProduct<Kind::kBackwardInput, Epilogue::kSquaredReluBackward>(product, stream)));
  const ExpertSquaredRelu& relu = product.squared_relu;
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
  const bool activates = !product.squared_relu.p_R.is_null();
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
