#ifndef HETERO_TENSOR_OPS_SSD_HOPPER_SQUARE_CUH_
#define HETERO_TENSOR_OPS_SSD_HOPPER_SQUARE_CUH_

// What a group of four warps does in hopper_input_gradients.cu: it has the pairs of 64 tokens k and
// 64 tokens m, three such squares being all of a chunk where m is not before k.

#include <cstdint>

#include "hetero/tensor/ops/ssd/hopper_decay.cuh"
#include "hetero/tensor/ops/ssd/hopper_tile.cuh"

namespace hetero::internal {

inline constexpr int kSquareThreads = 3 * kGroupThreads;
inline constexpr int kHeadStages = 2;
inline constexpr int kSumStages = 2;

struct InputStage {  // of a head; also C, in place of x and d_y
  alignas(1024) __nv_bfloat16 x[HeadRows::kSize];
  alignas(1024) __nv_bfloat16 d_y[HeadRows::kSize];
  alignas(1024) __nv_bfloat16 d_state[StateRows::kSize];
  alignas(1024) float steps[kNumSsdSteps * kChunk];
};
static_assert(offsetof(InputStage, d_y) == HeadRows::kBytes);

struct SquareSums {                      // of a head
  float direct[64], flow[64], skip[64];  // of tokens k
  float ending[4][64];                   // of tokens m, by the warps' tokens k
};

struct InputShared {
  alignas(1024) __nv_bfloat16 b[GroupRows::kSize];
  InputStage stages[kHeadStages];
  float4 bc[3][64 / 8][kGroupThreads];  // of the squares, as each thread needs it
  int32_t first[kChunk];
  SquareSums sums[kSumStages][3];
  float4 passed[64 / 8][kGroupThreads];  // by the square kAcross
  alignas(128) unsigned char staging[2][4][kStagedBytes];
  RingBarriers<kHeadStages> ring;
  RingBarriers<kSumStages> sums_ring;
  RingBarriers<1> passed_ring;
};
static_assert(sizeof(InputShared) <= 227 << 10);

struct InputArgs {
  HopperProblem p;
  cuda::Rows<__nv_bfloat16> d_x, d_b;
  __nv_bfloat16* d_cb;
  float* token_sums;
};

// Sums value[i][j] of all lanes with the same column: of column i * 8 + GroupPlace::column + j,
// where i and j are bits 4 and 3 of the lane.
__device__ inline float ColumnSum(const float (&value)[2][2]) {
  const bool i = threadIdx.x & 16;
  const bool j = threadIdx.x & 8;
  float kept[2];
#pragma unroll
  for (int c = 0; c < 2; ++c) {
    kept[c] =
        (i ? value[1][c] : value[0][c]) + __shfl_xor_sync(~0u, i ? value[0][c] : value[1][c], 16);
  }
  float sum = (j ? kept[1] : kept[0]) + __shfl_xor_sync(~0u, j ? kept[0] : kept[1], 8);
  return sum + __shfl_xor_sync(~0u, sum, 4);
}

// Both halves of a chunk with themselves, and the first, as tokens k, with the second.
enum class SquareOf { kFirst, kAcross, kSecond };

// The square across begins d_x of the first half and passes it on; the others end d_x and make d_b
// of their tokens.
template <SquareOf kSquare>
class Square {
 public:
  __device__ Square(const InputArgs& args, const SsdChunk& chunk, InputShared& shared)
      : args_(args),
        chunk_(chunk),
        shared_(shared),
        place_(kHalfOfK),
        is_one_sequence_(IsOneSequence(args.p.first + int64_t{blockIdx.x} * kChunk)) {
    Clear(d_cb_);
    Clear(d_b_);
  }

  __device__ __forceinline__ void Run() {
    const HopperProblem& p = args_.p;
    const int heads_per_group = p.heads / p.groups;
    const int first_head = static_cast<int>(blockIdx.y) * heads_per_group;
    shared_.ring.Await(ring_);
    TakeProjections();
    shared_.ring.Release(ring_);
    asm volatile("bar.sync 1, %0;" ::"n"(kSquareThreads) : "memory");
#pragma unroll 1
    for (int h = 0; h < heads_per_group; ++h) {
      shared_.ring.Await(ring_);
      place_.Forget();
      TakeHead(first_head + h);
    }
    shared_.ring.Await(ring_);
    StorePairs();
    PassPairs();
    if constexpr (kEnds) FinishGroup();
  }

 private:
  static constexpr int kIndex = static_cast<int>(kSquare);
  static constexpr bool kEnds = kSquare != SquareOf::kAcross;
  static constexpr bool kTakesState = kSquare != SquareOf::kFirst;
  static constexpr int kHalfOfK = kSquare == SquareOf::kSecond ? 1 : 0;
  static constexpr int kHalfOfM = kSquare == SquareOf::kFirst ? 0 : 1;
  static constexpr int kBlock = 32;  // tokens m that are worked on at once

  __device__ __forceinline__ float4& BcOf(int i) {
    return shared_.bc[kIndex][i][threadIdx.x % kGroupThreads];
  }
  __device__ __forceinline__ float4& PassedOf(int i) {
    return shared_.passed[i][threadIdx.x % kGroupThreads];
  }
  __device__ static const __nv_bfloat16* RowsOfK(const __nv_bfloat16* panel) {
    return panel + kHalfOfK * 64 * HeadRows::kWidth;
  }
  __device__ static const __nv_bfloat16* RowsOfM(const __nv_bfloat16* panel, int block) {
    return panel + (kHalfOfM * 64 + block * kBlock) * HeadRows::kWidth;
  }
  __device__ unsigned char* Staging() { return shared_.staging[kHalfOfK][place_.warp % 4]; }

  __device__ __forceinline__ void TakeProjections() {
    const uint64_t b = GroupRows::Descriptor(RowsOfK(shared_.b));
    const uint64_t c = GroupRows::Descriptor(RowsOfM(shared_.stages[ring_.stage].x, 0));
    float bc[32];
    cute::warpgroup_arrive();
#pragma unroll
    for (int i = 0; i < kStateSize / 16; ++i) {
      Multiply<64, Major::K, Major::K>(b + GroupRows::Columns(i), c + GroupRows::Columns(i), i > 0,
                                       bc);
    }
    cute::warpgroup_commit_batch();
    cute::warpgroup_wait<0>();
    Pin(bc);
#pragma unroll
    for (int i = 0; i < 64 / 8; ++i) {
      BcOf(i) = {bc[4 * i], bc[4 * i + 1], bc[4 * i + 2], bc[4 * i + 3]};
    }
    if (const unsigned t = threadIdx.x; t < kChunk) {
      shared_.first[t] = args_.p.first[int64_t{blockIdx.x} * kChunk + t];
    }
  }

  // x d_y^T of a block of tokens m.
  __device__ __forceinline__ void StartDots(const InputStage& stage, int block,
                                            float (&dots)[kBlock / 2]) {
    const uint64_t a = HeadRows::Descriptor(RowsOfK(stage.x));
    const uint64_t b = HeadRows::Descriptor(RowsOfM(stage.d_y, block));
    cute::warpgroup_arrive();
#pragma unroll
    for (int i = 0; i < kHeadDim / 16; ++i) {
      Multiply<kBlock, Major::K, Major::K>(a + HeadRows::Columns(i), b + HeadRows::Columns(i),
                                           i > 0, dots);
    }
    cute::warpgroup_commit_batch();
  }

  // What the gradient of the state that leaves gives V.
  __device__ __forceinline__ void StartState(const InputStage& stage, float (&v)[kHeadDim / 2]) {
    const uint64_t b = GroupRows::Descriptor(RowsOfK(shared_.b));
    const uint64_t d_state = StateRows::Descriptor(stage.d_state);
    cute::warpgroup_arrive();
#pragma unroll
    for (int i = 0; i < kStateSize / 16; ++i) {
      Multiply<kHeadDim, Major::K, Major::K>(b + GroupRows::Columns(i),
                                             d_state + StateRows::Columns(i), i > 0, v);
    }
    cute::warpgroup_commit_batch();
  }

  // And d_b.
  __device__ __forceinline__ void StartStateOfB(const InputStage& stage) {
    const uint64_t d_state = StateRows::Descriptor(stage.d_state);
    const float* const into_state = stage.steps + kSsdIntoState * kChunk + place_.row;
    const float weight[2] = {into_state[0], into_state[8]};
    uint32_t x[kHeadDim / 16][4];
#pragma unroll
    for (int i = 0; i < kHeadDim / 16; ++i) {
      LoadRows(stage.x, place_, i, x[i]);
#pragma unroll
      for (int j = 0; j < 4; ++j) x[i][j] = Scale(x[i][j], weight[j % 2], weight[j % 2]);
    }
    Pin(d_b_);
    cute::warpgroup_arrive();
#pragma unroll
    for (int i = 0; i < kHeadDim / 16; ++i) {
      Multiply<kStateSize, Major::MN>(x[i], d_state + StateRows::Rows(i), true, d_b_);
    }
    cute::warpgroup_commit_batch();
  }

  struct PathSums {  // of a thread's two rows: F_kk, sum_{m > k} F_mk, d_y_k x_k
    float own[2], later[2], skip[2];
  };

  __device__ __forceinline__ void TakeHead(int head) {
    const InputStage& stage = shared_.stages[ring_.stage];
    const float* const steps = stage.steps + place_.row;
    const float dt[2] = {steps[kSsdDt * kChunk], steps[kSsdDt * kChunk + 8]};
    float v[kHeadDim / 2] = {};
    float dots[kBlock / 2];
    PathSums sums = {};
    if (!chunk_.is_last) {
      if constexpr (kTakesState) StartState(stage, v);
      if constexpr (kEnds) StartStateOfB(stage);
    }
    StartDots(stage, 0, dots);
    cute::warpgroup_wait<0>();
    Pin(v);
    if constexpr (kEnds) Pin(d_b_);
    if constexpr (kTakesState) {
      if (!chunk_.is_last) DecayState(stage, v, sums.later);
    }
    shared_.sums_ring.AwaitEmpty(sums_ring_);
    SquareSums& kept = shared_.sums[sums_ring_.stage][kIndex];
#pragma unroll
    for (int block = 0; block < 64 / kBlock; ++block) {
      Pin(dots);
      uint32_t mixing[kBlock / 16][4];
#pragma unroll
      for (int i = 0; i < kBlock / 16; ++i) {
        const int j = block * (kBlock / 16) + i;  // of the square's 16 tokens m
        TakeDots16(stage, j, dt, dots + i * 8, mixing[i], sums, kept);
      }
      Pin(v);
      const uint64_t d_y = HeadRows::Descriptor(RowsOfM(stage.d_y, block));
      cute::warpgroup_arrive();
#pragma unroll
      for (int i = 0; i < kBlock / 16; ++i) {
        Multiply<kHeadDim, Major::MN>(mixing[i], d_y + HeadRows::Rows(i), true, v);
      }
      cute::warpgroup_commit_batch();
      if (block + 1 < 64 / kBlock) StartDots(stage, block + 1, dots);
      cute::warpgroup_wait<0>();
      Pin(v);
    }
    StoreSums(dt, sums, kept);
    shared_.sums_ring.Fill(sums_ring_);
    PassRows(v);
    if constexpr (kEnds) {
      EndRows(stage, head, dt, v);
    }
    shared_.ring.Release(ring_);
    if constexpr (kEnds) StoreX(head, v);
  }

  // V over the path to the chunk's end, and x V.
  __device__ __forceinline__ void DecayState(const InputStage& stage, float (&v)[kHeadDim / 2],
                                             float (&leaving)[2]) {
    const float* const to_end = stage.steps + kSsdToEnd * kChunk + place_.row;
    const float decay[2] = {to_end[0], to_end[8]};
#pragma unroll
    for (int i = 0; i < kHeadDim / 8; ++i) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const float2 x = PairOf(stage.x, place_.row + r * 8, i);
        v[4 * i + 2 * r] *= decay[r];
        v[4 * i + 2 * r + 1] *= decay[r];
        leaving[r] += x.x * v[4 * i + 2 * r] + x.y * v[4 * i + 2 * r + 1];
      }
    }
  }

  __device__ __forceinline__ void TakeDots16(const InputStage& stage, int j, const float (&dt)[2],
                                             const float* dots, uint32_t (&mixing)[4],
                                             PathSums& sums, SquareSums& kept) {
    const bool is_diagonal = kEnds && j == place_.warp % 4;
    if (kEnds && j < place_.warp % 4) {  // all m before all k
#pragma unroll
      for (uint32_t& pair : mixing) pair = 0;
      return;
    }
    float f[2][4];
    if (is_one_sequence_ && !is_diagonal) {
      MixDots<false>(stage, j, dt, dots, mixing, f);
    } else {
      MixDots<true>(stage, j, dt, dots, mixing, f);
    }
    if (is_diagonal) TakeOwn(j, dots, f, sums);
    float ending[2][2];  // sum_k dt_k F_mk
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        sums.later[0] += f[half][c];
        sums.later[1] += f[half][2 + c];
        ending[half][c] = dt[0] * f[half][c] + dt[1] * f[half][2 + c];
      }
    }
    const float column_sum = ColumnSum(ending);
    if (!(place_.lane & 4)) {
      kept.ending[place_.warp % 4]
                 [j * 16 + place_.lane / 16 * 8 + place_.column + place_.lane / 8 % 2] = column_sum;
    }
  }

  // Of x d_y^T of 16 tokens m: its part of d_cb, F, and (C_m B_k) e_mk as an operand.
  template <bool kMasked>
  __device__ __forceinline__ void MixDots(const InputStage& stage, int j, const float (&dt)[2],
                                          const float* dots, uint32_t (&mixing)[4],
                                          float (&f)[2][4]) {
    const float* const sum = stage.steps + kSsdCumulative * kChunk;
    const float sum_k[2] = {sum[place_.row], sum[place_.row + 8]};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int i = j * 2 + half;
      const int first_m = kHalfOfM * 64 + i * 8 + place_.column;
      const float4 bc4 = BcOf(i);
      const float bc[4] = {bc4.x, bc4.y, bc4.z, bc4.w};
      const float2 sum_m = cuda::LoadPair(sum + first_m);
      int2 first = {};
      if constexpr (kMasked) first = *reinterpret_cast<const int2*>(shared_.first + first_m);
      float mixed[4];
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float sum_of_m = e % 2 == 0 ? sum_m.x : sum_m.y;
        float decay;
        if constexpr (kMasked) {
          decay = DecayBetween(place_.row + e / 2 * 8, sum_k[e / 2], first_m + e % 2, sum_of_m,
                               e % 2 == 0 ? first.x : first.y);
        } else {
          decay = PowerOfTwo(sum_of_m - sum_k[e / 2]);
        }
        const float dot = dots[half * 4 + e];
        mixed[e] = bc[e] * decay;
        d_cb_[4 * i + e] += dot * decay * dt[e / 2];
        f[half][e] = dot * mixed[e];
      }
      mixing[half * 2] = Pack(mixed[0], mixed[1]);
      mixing[half * 2 + 1] = Pack(mixed[2], mixed[3]);
    }
  }

  // Takes tokens' own paths out of F.
  __device__ __forceinline__ void TakeOwn(int j, const float* dots, float (&f)[2][4],
                                          PathSums& sums) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int m = kHalfOfM * 64 + j * 16 + half * 8 + place_.column + e % 2;
        if (place_.row + e / 2 * 8 != m) continue;
        sums.own[e / 2] = f[half][e];
        sums.skip[e / 2] = dots[half * 4 + e];
        f[half][e] = 0;
      }
    }
  }

  __device__ __forceinline__ void StoreSums(const float (&dt)[2], const PathSums& sums,
                                            SquareSums& kept) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int k = place_.row % 64 + r * 8;
      const float path_sum = cuda::RowOfSumsSum(sums.later[r]);
      const float own_sum = kEnds ? cuda::RowOfSumsSum(sums.own[r]) : 0.0f;
      const float skip_sum = kEnds ? cuda::RowOfSumsSum(sums.skip[r]) : 0.0f;
      if (place_.column == 0) {
        kept.direct[k] = path_sum + own_sum;
        kept.flow[k] = dt[r] * path_sum;
        kept.skip[k] = skip_sum;
      }
    }
  }

  // From the square across to the first: what it has of V.
  __device__ __forceinline__ void PassRows(float (&v)[kHeadDim / 2]) {
    if constexpr (kSquare == SquareOf::kAcross) {
      shared_.passed_ring.AwaitEmpty(passed_);
#pragma unroll
      for (int i = 0; i < kHeadDim / 8; ++i) {
        PassedOf(i) = {v[4 * i], v[4 * i + 1], v[4 * i + 2], v[4 * i + 3]};
      }
      shared_.passed_ring.Fill(passed_);
    } else if constexpr (kSquare == SquareOf::kFirst) {
      shared_.passed_ring.Await(passed_);
#pragma unroll
      for (int i = 0; i < kHeadDim / 8; ++i) {
        const float4 passed = PassedOf(i);
        v[4 * i] += passed.x;
        v[4 * i + 1] += passed.y;
        v[4 * i + 2] += passed.z;
        v[4 * i + 3] += passed.w;
      }
      shared_.passed_ring.Release(passed_);
    }
  }

  // V to d_x.
  __device__ __forceinline__ void EndRows(const InputStage& stage, int head, const float (&dt)[2],
                                          float (&v)[kHeadDim / 2]) {
    const float skip = cuda::ToFloat(args_.p.skip[head]);
#pragma unroll
    for (int i = 0; i < kHeadDim / 8; ++i) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const float2 d_y = PairOf(stage.d_y, place_.row + r * 8, i);
        v[4 * i + 2 * r] = dt[r] * v[4 * i + 2 * r] + skip * d_y.x;
        v[4 * i + 2 * r + 1] = dt[r] * v[4 * i + 2 * r + 1] + skip * d_y.y;
      }
    }
  }
  __device__ __forceinline__ void StoreX(int head, const float (&v)[kHeadDim / 2]) {
    const int first = place_.warp * kRowsOfWarp;
    StoreRows(v, 1.0f, Staging(), args_.d_x[chunk_.first_token + first] + head * kHeadDim,
              args_.d_x.stride, chunk_.length - first);
  }

  // The square's d_cb.
  __device__ __forceinline__ void StorePairs() {
    const int64_t group = int64_t{blockIdx.x} * args_.p.groups + blockIdx.y;
    __nv_bfloat16* const to =
        args_.d_cb + (group * kChunk + place_.row) * kChunk + kHalfOfM * 64 + place_.column;
#pragma unroll
    for (int i = 0; i < 64 / 8; ++i) {
      cuda::StorePair({d_cb_[4 * i], d_cb_[4 * i + 1]}, to + i * 8);
      cuda::StorePair({d_cb_[4 * i + 2], d_cb_[4 * i + 3]}, to + 8 * kChunk + i * 8);
    }
  }

  // As an operand of 16 tokens m.
  __device__ uint4 PairsOf(int j) const {
    const float* const s = d_cb_ + j * 8;
    return {Pack(s[0], s[1]), Pack(s[2], s[3]), Pack(s[4], s[5]), Pack(s[6], s[7])};
  }

  // From the square across to the first: its d_cb, an operand there.
  __device__ __forceinline__ void PassPairs() {
    if constexpr (kSquare == SquareOf::kAcross) {
      shared_.passed_ring.AwaitEmpty(passed_);
#pragma unroll
      for (int j = 0; j < 64 / 16; ++j) reinterpret_cast<uint4&>(PassedOf(j)) = PairsOf(j);
      shared_.passed_ring.Fill(passed_);
    } else if constexpr (kSquare == SquareOf::kFirst) {
      shared_.passed_ring.Await(passed_);
    }
  }

  __device__ __forceinline__ void FinishGroup() {
    constexpr int kSteps = (2 - kHalfOfK) * 64 / 16;  // of tokens m that read
    const uint64_t c = GroupRows::Descriptor(RowsOfM(shared_.stages[ring_.stage].x, 0));
    uint32_t a[kSteps][4];
#pragma unroll
    for (int j = 0; j < kSteps; ++j) {
      const uint4 pairs =
          j < 64 / 16 ? PairsOf(j) : reinterpret_cast<const uint4&>(PassedOf(j - 64 / 16));
      a[j][0] = pairs.x;
      a[j][1] = pairs.y;
      a[j][2] = pairs.z;
      a[j][3] = pairs.w;
    }
    Pin(d_b_);
    cute::warpgroup_arrive();
#pragma unroll
    for (int j = 0; j < kSteps; ++j) {
      Multiply<kStateSize, Major::MN>(a[j], c + GroupRows::Rows(j), true, d_b_);
    }
    cute::warpgroup_commit_batch();
    cute::warpgroup_wait<0>();
    Pin(d_b_);
    const int first = place_.warp * kRowsOfWarp;
    StoreRows(d_b_, 1.0f, Staging(),
              args_.d_b[chunk_.first_token + first] + static_cast<int>(blockIdx.y) * kStateSize,
              args_.d_b.stride, chunk_.length - first);
  }

  const InputArgs& args_;
  const SsdChunk& chunk_;
  InputShared& shared_;
  GroupPlace place_;
  const bool is_one_sequence_;
  RingPlace<kHeadStages> ring_;
  RingPlace<kSumStages> sums_ring_;
  RingPlace<1> passed_;
  float d_cb_[32];
  float d_b_[kEnds ? kStateSize / 2 : 1];
};

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_SSD_HOPPER_SQUARE_CUH_
