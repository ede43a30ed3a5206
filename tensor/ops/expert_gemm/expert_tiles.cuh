#ifndef HETERO_TENSOR_OPS_EXPERT_GEMM_EXPERT_TILES_CUH_
#define HETERO_TENSOR_OPS_EXPERT_GEMM_EXPERT_TILES_CUH_

// What the warps of expert_gemm_hopper.cu share: sizes, operands, shared memory, the tiles that a
// block walks over, and how a stage is filled.

#include <cuda.h>

#include <cstdint>
#include <cuda/ptx>

#include "hetero/base/rounding.h"
#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/ops/expert_gemm/expert_gemm.h"

namespace hetero::internal::expert_gemm {

namespace ptx = ::cuda::ptx;
using Kind = ExpertProduct::Kind;
using cuda::kWarpSize;

constexpr int kCluster = 2;
constexpr int kTileM = 256;
constexpr int kTileN = kExpertTileColumns;
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

// Tiles that a block knows ahead of working on them.
constexpr int kTileSlots = 2;

// How the blocks of a cluster are told their tiles; tile_queue.cuh has what they do with it.
struct TileSlots {
  int index[kTileSlots];
  uint64_t full[kTileSlots];
  uint64_t empty[kTileSlots];  // of the cluster's first block
};

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
  TileSlots tiles;
};

struct Maps {
  CUtensorMap a, b;
  CUtensorMap c;  // of kBackwardWeight
};

// What is made of the sums where they are stored.
enum class Epilogue {
  kNone,
  kSquaredRelu,          // beside c what SquaredReluForward makes of it
  kSquaredReluBackward,  // instead of c what SquaredReluBackward makes of it
};

struct Problem {
  const int32_t* offsets;  // null: one expert has all rows
  int num_experts;
  int num_outputs;   // N
  int columns;       // of c
  int depth;         // of the sums, but of kBackwardWeight
  __nv_bfloat16* c;  // but of kBackwardWeight
  bool accumulate;
  int* next_tile;  // 0 before and after a launch
  int num_rows;
  // Of an epilogue.
  const float* p;  // null: 1
  __nv_bfloat16* activated;
  const __nv_bfloat16* f;
  float* dp_parts;  // [tiles of columns, rows]; null: not wanted
};

struct Tile {
  int expert;
  int begin, rows;  // of the expert
  int m0, n0;
};

// The tiles of all experts, by index.
template <Kind kKind>
class Walk {
 public:
  __device__ explicit Walk(const Problem& problem)
      : problem_(problem), pairs_(CeilDiv(problem.columns, kCluster * kTileN)) {}

  // This block's tile of a pair's; its columns may lie past the end. False: `index` is behind the
  // last. Indices ascend from call to call.
  __device__ bool Find(int index, Tile& tile) {
    int tiles_m = CeilDiv(problem_.num_outputs, kTileM);
    while (true) {
      if (expert_ == problem_.num_experts) return false;
      const bool has_all = problem_.offsets == nullptr;
      tile.begin = has_all ? 0 : __ldg(problem_.offsets + expert_);
      tile.rows =
          (has_all ? problem_.num_rows : __ldg(problem_.offsets + expert_ + 1)) - tile.begin;
      if constexpr (kKind != Kind::kBackwardWeight) tiles_m = CeilDiv(tile.rows, kTileM);
      if (index - first_ < tiles_m * pairs_) break;
      first_ += tiles_m * pairs_;
      ++expert_;
    }
    tile.expert = expert_;
    tile.m0 = (index - first_) / pairs_ * kTileM;
    tile.n0 = ((index - first_) % pairs_ * kCluster + blockIdx.x % kCluster) * kTileN;
    return true;
  }

  // Of all experts, once an index was behind the last.
  __device__ int NumPairs() const { return first_; }

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
__device__ inline void Wait(uint64_t* barrier, uint32_t parity) {
  while (!ptx::mbarrier_try_wait_parity(barrier, parity)) {
  }
}

// Where another block of the cluster has what this one has at `own`.
__device__ inline uint32_t InBlock(const void* own, int rank) {
  uint32_t address;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;"
               : "=r"(address)
               : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(own))), "r"(rank));
  return address;
}

__device__ inline void ArriveAt(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(barrier) : "memory");
}

// A warp has read a stage: it may be filled, by both blocks.
template <Kind kKind>
__device__ void Release(Shared<kKind>& shared, int stage) {
  const int lane = threadIdx.x % kWarpSize;
  if (lane < kCluster) ArriveAt(InBlock(&shared.empty[stage], lane));
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

}  // namespace hetero::internal::expert_gemm

#endif  // HETERO_TENSOR_OPS_EXPERT_GEMM_EXPERT_TILES_CUH_
