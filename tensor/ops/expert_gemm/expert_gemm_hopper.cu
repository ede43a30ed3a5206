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

#include <cuda.h>

#include <algorithm>
#include <cstdint>
#include <cuda/ptx>
#include <utility>

#include "absl/status/status.h"
#include "cute/arch/mma_sm90_gmma.hpp"
#include "hetero/base/rounding.h"
#include "hetero/base/status.h"
#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/ops/expert_gemm/expert_gemm.h"
#include "hetero/tensor/ops/expert_gemm/tensor_maps.cuh"

namespace hetero::internal {
namespace {

namespace ptx = ::cuda::ptx;
using Kind = ExpertProduct::Kind;
using cuda::kWarpSize;
using cute::SM90::GMMA::Major;

constexpr int kCluster = 2;
constexpr int kTileM = 256;
constexpr int kTileN = 192;
constexpr int kDepth = 32;  // of a stage

// A stage is made of panels of kSide of m or n by kDepth. Where the depth is contiguous in memory a
// panel is kSide rows of kDepth elements, 64 bytes; else kDepth rows of kSide elements, 128 bytes.
// Tensor copies permute the 16-byte pieces of a row, by a swizzle as wide as the row, and wgmma
// reads them so.
constexpr int kSide = 64;
constexpr int kPanel = kSide * kDepth;
constexpr int kPanelsM = kTileM / kSide;
constexpr int kPanelsN = kTileN / kSide;

constexpr int kGroups = 2;  // of warps that multiply; group g has panels g and g + 2 of m
constexpr int kWarpsOfGroup = 4;
constexpr int kGroupThreads = kWarpsOfGroup * kWarpSize;
constexpr int kMathWarps = kGroups * kWarpsOfGroup;
constexpr int kMathThreads = kGroups * kGroupThreads;
constexpr int kThreads = kMathThreads + kGroupThreads;  // one group loads
constexpr int kPanelsOfGroup = kPanelsM / kGroups;
constexpr int kSums = kSide * kTileN / kGroupThreads;  // a thread's, of a panel of m

// Registers of a thread, in steps of 8; those of the three groups are 504 together.
constexpr int kLoadRegisters = 40;
constexpr int kMathRegisters = 232;

// Staging of results, for a warp: 16 rows of 64 columns of bf16, padded to spread the banks, or two
// runs of 16 rows of 32 columns of f32.
constexpr int kRowPitch = kSide * sizeof(__nv_bfloat16) + 16;
constexpr int kRunRows = 16;
constexpr int kRunColumns = 32;

template <Kind kKind>
struct Shared {
  // As many as fit: two are being read, the others are on their way.
  static constexpr int kStages = kKind == Kind::kBackwardWeight ? 6 : 7;
  static constexpr int kStagingBytes = kKind == Kind::kBackwardWeight
                                           ? 2 * kRunRows * kRunColumns * sizeof(float)
                                           : kRunRows * kRowPitch;

  alignas(1024) __nv_bfloat16 a[kStages][kPanelsM * kPanel];
  alignas(1024) __nv_bfloat16 b[kStages][kPanelsN * kPanel];
  alignas(1024) unsigned char staging[kMathWarps][kStagingBytes];
  uint64_t full[kStages];
  uint64_t empty[kStages];
};

struct Maps {
  CUtensorMap a, b;
  CUtensorMap c;  // of kBackwardWeight
};

struct Problem {
  const int32_t* offsets;
  int num_experts;
  int num_outputs;   // N
  int columns;       // of c
  int depth;         // of the sums, but of kBackwardWeight
  __nv_bfloat16* c;  // but of kBackwardWeight
  bool accumulate;
};

struct Tile {
  int expert;
  int begin, rows;  // of the expert
  int m0, n0;
};

// All warps of a cluster walk over the same tiles.
template <Kind kKind>
class Walk {
 public:
  __device__ explicit Walk(const Problem& problem)
      : problem_(problem),
        pairs_(CeilDiv(problem.columns, kCluster * kTileN)),
        index_(blockIdx.x / kCluster) {}

  // The tile of this block; its columns may lie past the end.
  __device__ bool Next(Tile& tile) {
    int tiles_m = CeilDiv(problem_.num_outputs, kTileM);
    while (true) {
      if (expert_ == problem_.num_experts) return false;
      tile.begin = __ldg(problem_.offsets + expert_);
      tile.rows = __ldg(problem_.offsets + expert_ + 1) - tile.begin;
      if constexpr (kKind != Kind::kBackwardWeight) tiles_m = CeilDiv(tile.rows, kTileM);
      if (index_ - first_ < tiles_m * pairs_) break;
      first_ += tiles_m * pairs_;
      ++expert_;
    }
    tile.expert = expert_;
    tile.m0 = (index_ - first_) / pairs_ * kTileM;
    tile.n0 = ((index_ - first_) % pairs_ * kCluster + blockIdx.x % kCluster) * kTileN;
    index_ += gridDim.x / kCluster;
    return true;
  }

  __device__ int NumStages(const Tile& tile) const {
    return CeilDiv(kKind == Kind::kBackwardWeight ? tile.rows : problem_.depth, kDepth);
  }
  // Rows of c from m0 on.
  __device__ int NumRows(const Tile& tile) const {
    return (kKind == Kind::kBackwardWeight ? problem_.num_outputs : tile.rows) - tile.m0;
  }

 private:
  const Problem& problem_;
  const int pairs_;
  int index_;
  int first_ = 0;  // index of the first tile of expert_
  int expert_ = 0;
};

template <int kStages>
struct Position {
  int stage = 0;
  uint32_t parity = 0;

  __device__ void Advance() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

// Barriers order shared memory alone and have no wider scope: with that of a cluster each of these
// would flush or invalidate the L1 cache, at a thousand cycles.
__device__ void Wait(uint64_t* barrier, uint32_t parity) {
  while (!ptx::mbarrier_try_wait_parity(barrier, parity)) {
  }
}

// A warp has read a stage: it may be filled, by both blocks.
template <Kind kKind>
__device__ void Release(Shared<kKind>& shared, int stage) {
  const int lane = threadIdx.x % kWarpSize;
  if (lane < kCluster) {
    asm volatile(
        "{\n"
        ".reg .b32 of_lane;\n"
        "mapa.shared::cluster.u32 of_lane, %0, %1;\n"
        "mbarrier.arrive.shared::cluster.b64 _, [of_lane];\n"
        "}" ::"r"(static_cast<uint32_t>(__cvta_generic_to_shared(&shared.empty[stage]))),
        "r"(lane)
        : "memory");
  }
}

// Fills a stage of this block, and half of a's for both.
template <Kind kKind>
__device__ void Fill(Shared<kKind>& shared, const Maps& maps, const Tile& tile, int step,
                     int stage) {
  constexpr uint16_t kBoth = (1 << kCluster) - 1;
  const int rank = blockIdx.x % kCluster;
  __nv_bfloat16* const a = shared.a[stage];
  __nv_bfloat16* const b = shared.b[stage];
  uint64_t* const full = &shared.full[stage];
  const int k = step * kDepth;
  const uint32_t bytes = sizeof(shared.a[0]) + sizeof(shared.b[0]);
  ptx::mbarrier_arrive_expect_tx(ptx::sem_release, ptx::scope_cta, ptx::space_shared, full, bytes);
  if constexpr (kKind == Kind::kBackwardWeight) {
    for (int i = 0; i < kPanelsM / kCluster; ++i) {
      const int panel = rank * (kPanelsM / kCluster) + i;
      ptx::cp_async_bulk_tensor(ptx::space_cluster, ptx::space_global, a + panel * kPanel, &maps.a,
                                {tile.m0 + panel * kSide, tile.begin + k}, full, kBoth);
    }
    for (int panel = 0; panel < kPanelsN; ++panel) {
      ptx::cp_async_bulk_tensor(ptx::space_cluster, ptx::space_global, b + panel * kPanel, &maps.b,
                                {tile.n0 + panel * kSide, tile.begin + k}, full);
    }
  } else {
    const int row = rank * (kTileM / kCluster);
    ptx::cp_async_bulk_tensor(ptx::space_cluster, ptx::space_global, a + row * kDepth, &maps.a,
                              {k, tile.begin + tile.m0 + row}, full, kBoth);
    if constexpr (kKind == Kind::kForward) {
      ptx::cp_async_bulk_tensor(ptx::space_cluster, ptx::space_global, b, &maps.b,
                                {k, tile.n0, tile.expert}, full);
    } else {
      for (int panel = 0; panel < kPanelsN; ++panel) {
        ptx::cp_async_bulk_tensor(ptx::space_cluster, ptx::space_global, b + panel * kPanel,
                                  &maps.b, {tile.n0 + panel * kSide, k, tile.expert}, full);
      }
    }
  }
}

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

__device__ uint32_t Pack(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return reinterpret_cast<const uint32_t&>(pair);
}

// A warp stores 16 rows of the panels of its group: rows of bf16, in runs of 64 columns that it
// turns in shared memory into 16-byte stores.
__device__ void StoreRows(const Problem& problem, const Tile& tile, int panel,
                          const float (&sums)[kSums], unsigned char* staging) {
  const int lane = threadIdx.x % kWarpSize;
  const int first = tile.m0 + panel * kSide + threadIdx.x % kGroupThreads / kWarpSize * kRunRows;
#pragma unroll
  for (int run = 0; run < kPanelsN; ++run) {
    const int column = tile.n0 + run * kSide;
    if (column >= problem.columns) break;
    // Lane l gives the address of row l % 8 of matrix l / 8: rows 0-7 and 8-15 of 8 columns, then
    // of the next 8.
    const uint32_t to = static_cast<uint32_t>(__cvta_generic_to_shared(staging)) +
                        (lane / 8 % 2 * 8 + lane % 8) * kRowPitch + lane / 16 * 16;
#pragma unroll
    for (int pair = 0; pair < kSide / 16; ++pair) {
      const float* const s = sums + run * (kSide / 2) + pair * 8;
      asm volatile(
          "stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(to + pair * 32),
          "r"(Pack(s[0], s[1])), "r"(Pack(s[2], s[3])), "r"(Pack(s[4], s[5])), "r"(Pack(s[6], s[7]))
          : "memory");
    }
    __syncwarp();
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = i * 4 + lane / 8;
      const int piece = lane % 8;
      if (first + row < tile.rows && column + piece * 8 < problem.columns) {
        const int64_t at = (tile.begin + first + row) * int64_t{problem.columns} + column;
        *reinterpret_cast<uint4*>(problem.c + at + piece * 8) =
            *reinterpret_cast<const uint4*>(staging + row * kRowPitch + piece * 16);
      }
    }
    __syncwarp();
  }
}

// f32, in runs of 32 columns that tensor copies add to c or write to it, cut at its edges. Two are
// in flight; `turn` counts them.
__device__ void StoreSums(const Maps& maps, const Problem& problem, const Tile& tile, int panel,
                          const float (&sums)[kSums], unsigned char* staging, int& turn) {
  const int lane = threadIdx.x % kWarpSize;
  const int first = tile.m0 + panel * kSide + threadIdx.x % kGroupThreads / kWarpSize * kRunRows;
#pragma unroll
  for (int run = 0; run < kTileN / kRunColumns; ++run) {
    const int column = tile.n0 + run * kRunColumns;
    if (column >= problem.columns) break;
    float* const buffer =
        reinterpret_cast<float*>(staging) + (turn++ % 2) * (kRunRows * kRunColumns);
    if (lane == 0) ptx::cp_async_bulk_wait_group_read(ptx::n32_t<1>());
    __syncwarp();
#pragma unroll
    for (int i = 0; i < kRunColumns / 8; ++i) {
      const float* const s = sums + run * (kRunColumns / 2) + i * 4;
      const int piece = i * 2 + lane % 4 / 2;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = half * 8 + lane / 4;
        *reinterpret_cast<float2*>(buffer + row * kRunColumns + (piece ^ row % 8) * 4 +
                                   lane % 2 * 2) = {s[half * 2], s[half * 2 + 1]};
      }
    }
    ptx::fence_proxy_async(ptx::space_shared);
    __syncwarp();
    if (lane == 0) {
      const int32_t at[3] = {column, first, tile.expert};
      if (problem.accumulate) {
        ptx::cp_reduce_async_bulk_tensor(ptx::space_global, ptx::space_shared, ptx::op_add, &maps.c,
                                         at, buffer);
      } else {
        ptx::cp_async_bulk_tensor(ptx::space_global, ptx::space_shared, &maps.c, at, buffer);
      }
      ptx::cp_async_bulk_commit_group();
    }
  }
}

template <Kind kKind>
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
        StoreRows(problem, tile, group + panel * kGroups, sums[panel], staging);
      }
    }
  }
  // Copies still read what the block owns.
  if (kWeight && threadIdx.x % kWarpSize == 0) ptx::cp_async_bulk_wait_group_read(ptx::n32_t<0>());
}

template <Kind kKind>
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
    MultiplyAndStore<kKind>(shared, maps, problem);
  }
  // The other block may still write to this one's memory.
  ptx::barrier_cluster_arrive();
  ptx::barrier_cluster_wait();
}

template <Kind kKind>
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
  const int64_t columns = product.c.dim(product.c.rank() - 1);
  const Problem problem = {.offsets = product.offsets.data<int32_t>(),
                           .num_experts = static_cast<int>(e),
                           .num_outputs = static_cast<int>(n),
                           .columns = static_cast<int>(columns),
                           .depth = static_cast<int>(product.a.dim(1)),
                           .c = kWeight ? nullptr : product.c.data<__nv_bfloat16>(),
                           .accumulate = product.accumulate};
  HETERO_ASSIGN_OR_RETURN(const cuda::DeviceFacts* const facts, stream.State<cuda::DeviceFacts>());
  // No more than tiles, as far as the host knows.
  const int64_t tiles_m = kWeight ? e * ((n + kTileM - 1) / kTileM) : r / kTileM + std::min(e, r);
  const int64_t tiles = tiles_m * ((columns + kCluster * kTileN - 1) / (kCluster * kTileN));
  const int64_t clusters = std::min<int64_t>(tiles, facts->num_multiprocessors / kCluster);
  const cuda::LaunchShape shape = {.grid = static_cast<unsigned>(clusters * kCluster),
                                   .block = kThreads,
                                   .shared_bytes = sizeof(Shared<kKind>)};
  return HETERO_CUDA_LAUNCH(ExpertGemmKernel<kKind>, shape, stream, maps, problem);
}

}  // namespace

bool FitsTensorCores(const ExpertProduct& product) {
  return product.a.dtype() == DType::kBF16 &&
         std::min({product.num_rows, product.num_inputs, product.num_outputs}) > 0 &&
         cuda::AllowVectors({product.a, product.b, product.c}, 8);
}

absl::Status ExpertProductOnTensorCores(const ExpertProduct& product, Stream& stream) {
  switch (product.kind) {
    case Kind::kForward:
      return LaunchProduct<Kind::kForward>(product, stream);
    case Kind::kBackwardInput:
      return LaunchProduct<Kind::kBackwardInput>(product, stream);
    case Kind::kBackwardWeight:
      return LaunchProduct<Kind::kBackwardWeight>(product, stream);
  }
  return absl::OkStatus();
}

}  // namespace hetero::internal
