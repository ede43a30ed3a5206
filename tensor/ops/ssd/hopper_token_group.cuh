#ifndef HETERO_TENSOR_OPS_SSD_HOPPER_TOKEN_GROUP_CUH_
#define HETERO_TENSOR_OPS_SSD_HOPPER_TOKEN_GROUP_CUH_

// What a group of four warps does in hopper_input_gradients.cu, with 64 tokens k of a chunk.

#include <cstdint>

#include "hetero/tensor/ops/ssd/hopper_decay.cuh"
#include "hetero/tensor/ops/ssd/hopper_tile.cuh"

namespace hetero::internal {

inline constexpr int kInputStages = 2;
inline constexpr int kInputBlock = 32;  // tokens m that are worked on at once
inline constexpr int kBlocksOfChunk = kChunk / kInputBlock;

struct InputStage {  // also C, in place of x and d_y
  alignas(1024) __nv_bfloat16 x[HeadRows::kSize];
  alignas(1024) __nv_bfloat16 d_y[HeadRows::kSize];
  alignas(1024) __nv_bfloat16 d_state[StateRows::kSize];
  alignas(1024) float steps[kNumSsdSteps * kChunk];
};
static_assert(offsetof(InputStage, d_y) == HeadRows::kBytes);

struct InputShared {
  alignas(1024) __nv_bfloat16 b[GroupRows::kSize];
  InputStage stages[kInputStages];
  // Of the groups' blocks one after the other, those before the group's own tokens left out.
  float4 bc[(kTokenGroups + 1) * kTokenGroups / 2 * (64 / kInputBlock) * (kInputBlock / 8)]
           [kGroupThreads];
  int32_t first[kChunk];
  // Of this head and of the last one, which is still to be stored.
  float row_sums[2][3][kChunk];  // direct, outgoing flow, skip
  float column_sums[2][kChunk / 16][kChunk];
  alignas(128) unsigned char staging[kTokenThreads / cuda::kWarpSize][kStagedBytes];
  RingBarriers<kInputStages> ring;
};
static_assert(sizeof(InputShared) <= 227 << 10);

struct InputArgs {
  HopperProblem p;
  cuda::Rows<__nv_bfloat16> d_x, d_b;
  __nv_bfloat16* d_cb;
  float* token_sums;
};

// The products of the group of warps with 64 tokens k from 64 kIndex on. Tokens m before are not
// met: of the chunk's blocks the last kBlocks.
template <int kIndex>
class TokenGroup {
 public:
  static constexpr int kBlocks = kBlocksOfChunk - kIndex * (64 / kInputBlock);
  static constexpr int kFirstBlock = kBlocksOfChunk - kBlocks;

  __device__ TokenGroup(const InputArgs& args, const SsdChunk& chunk, InputShared& shared)
      : args_(args), chunk_(chunk), shared_(shared) {
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
#pragma unroll 1
    for (int h = 0; h < heads_per_group; ++h) {
      shared_.ring.Await(ring_);
      SyncMathThreads();
      if (kIndex == 0 && h > 0) StoreSums(first_head + h - 1, h - 1 & 1);
      TakeHead(shared_.stages[ring_.stage], first_head + h, h & 1);
      shared_.ring.Release(ring_);
    }
    SyncMathThreads();
    if (kIndex == 0) StoreSums(first_head + heads_per_group - 1, heads_per_group - 1 & 1);
    shared_.ring.Await(ring_);
    FinishGroup();
  }

 private:
  __device__ __forceinline__ float4& BcOf(int block, int i) {
    constexpr int kBefore = kIndex == 0 ? 0 : kBlocksOfChunk;
    return shared_.bc[(kBefore + block) * (kInputBlock / 8) + i][threadIdx.x % kGroupThreads];
  }
  __device__ const __nv_bfloat16* OwnRows(const __nv_bfloat16* panel) const {
    return panel + kIndex * 64 * HeadRows::kWidth;
  }
  __device__ static const __nv_bfloat16* RowsOfBlock(const __nv_bfloat16* panel, int block) {
    return panel + (kFirstBlock + block) * kInputBlock * HeadRows::kWidth;
  }

  __device__ __forceinline__ void TakeProjections() {
    const uint64_t b = GroupRows::Descriptor(OwnRows(shared_.b));
    const __nv_bfloat16* const c = shared_.stages[ring_.stage].x;
#pragma unroll 1
    for (int block = 0; block < kBlocks; ++block) {
      float sums[kInputBlock / 2];
      const uint64_t of_block = GroupRows::Descriptor(RowsOfBlock(c, block));
      cute::warpgroup_arrive();
#pragma unroll
      for (int i = 0; i < kStateSize / 16; ++i) {
        Multiply<kInputBlock, Major::K, Major::K>(b + GroupRows::Columns(i),
                                                  of_block + GroupRows::Columns(i), i > 0, sums);
      }
      cute::warpgroup_commit_batch();
      cute::warpgroup_wait<0>();
      Pin(sums);
#pragma unroll
      for (int i = 0; i < kInputBlock / 8; ++i) {
        BcOf(block, i) = {sums[4 * i], sums[4 * i + 1], sums[4 * i + 2], sums[4 * i + 3]};
      }
    }
    if (const unsigned t = threadIdx.x; t < kChunk) {
      shared_.first[t] = args_.p.first[int64_t{blockIdx.x} * kChunk + t];
    }
  }

  // x d_y^T of a block of tokens m.
  __device__ __forceinline__ void StartDots(const InputStage& stage, int block,
                                            float (&dots)[kInputBlock / 2]) {
    const uint64_t a = HeadRows::Descriptor(OwnRows(stage.x));
    const uint64_t b = HeadRows::Descriptor(RowsOfBlock(stage.d_y, block));
    cute::warpgroup_arrive();
#pragma unroll
    for (int i = 0; i < kHeadDim / 16; ++i) {
      Multiply<kInputBlock, Major::K, Major::K>(a + HeadRows::Columns(i), b + HeadRows::Columns(i),
                                                i > 0, dots);
    }
    cute::warpgroup_commit_batch();
  }

  // What the gradient of the state that leaves gives V and d_b.
  __device__ __forceinline__ void StartState(const InputStage& stage, float (&v)[kHeadDim / 2]) {
    const uint64_t b = GroupRows::Descriptor(OwnRows(shared_.b));
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
    for (int i = 0; i < kStateSize / 16; ++i) {
      Multiply<kHeadDim, Major::K, Major::K>(b + GroupRows::Columns(i),
                                             d_state + StateRows::Columns(i), i > 0, v);
    }
#pragma unroll
    for (int i = 0; i < kHeadDim / 16; ++i) {
      Multiply<kStateSize, Major::MN>(x[i], d_state + StateRows::Rows(i), true, d_b_);
    }
    cute::warpgroup_commit_batch();
  }

  __device__ __forceinline__ void TakeHead(const InputStage& stage, int head, int turn) {
    const float* const steps = stage.steps + place_.row;
    const float dt[2] = {steps[kSsdDt * kChunk], steps[kSsdDt * kChunk + 8]};
    float v[kHeadDim / 2] = {};
    float dots[kInputBlock / 2];
    float leaving[2] = {};  // x V over the path to the chunk's end
    if (!chunk_.is_last) StartState(stage, v);
    StartDots(stage, 0, dots);
    cute::warpgroup_wait<0>();
    Pin(v);
    Pin(d_b_);
    if (!chunk_.is_last) {
      const float to_end[2] = {steps[kSsdToEnd * kChunk], steps[kSsdToEnd * kChunk + 8]};
#pragma unroll
      for (int i = 0; i < kHeadDim / 8; ++i) {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          const float2 x = PairOf(stage.x, place_.row + r * 8, i);
          v[4 * i + 2 * r] *= to_end[r];
          v[4 * i + 2 * r + 1] *= to_end[r];
          leaving[r] += x.x * v[4 * i + 2 * r] + x.y * v[4 * i + 2 * r + 1];
        }
      }
    }
    PathSums sums = {};
#pragma unroll
    for (int block = 0; block < kBlocks; ++block) {
      Pin(dots);
      uint32_t mixing[kInputBlock / 16][4];
      TakeDots(stage, block, dt, dots, mixing, sums, shared_.column_sums[turn]);
      Pin(v);
      const uint64_t d_y = HeadRows::Descriptor(RowsOfBlock(stage.d_y, block));
      cute::warpgroup_arrive();
#pragma unroll
      for (int i = 0; i < kInputBlock / 16; ++i) {
        Multiply<kHeadDim, Major::MN>(mixing[i], d_y + HeadRows::Rows(i), true, v);
      }
      cute::warpgroup_commit_batch();
      if (block + 1 < kBlocks) StartDots(stage, block + 1, dots);
      cute::warpgroup_wait<0>();
      Pin(v);
    }
    StoreHead(stage, head, turn, dt, leaving, sums, v);
  }

  struct PathSums {  // of a thread's two rows: F_kk, sum_{m > k} F_mk, d_y_k x_k
    float own[2], later[2], skip[2];
  };

  // Of a block of x d_y^T: its part of d_cb and of the sums, and (C_m B_k) e_mk as an operand.
  __device__ __forceinline__ void TakeDots(const InputStage& stage, int block, const float (&dt)[2],
                                           const float (&dots)[kInputBlock / 2],
                                           uint32_t (&mixing)[kInputBlock / 16][4],
                                           PathSums& path_sums,
                                           float (&column_sums)[kChunk / 16][kChunk]) {
    const float* const sum = stage.steps + kSsdCumulative * kChunk;
    const float sum_k[2] = {sum[place_.row], sum[place_.row + 8]};
#pragma unroll
    for (int of16 = 0; of16 < kInputBlock / 16; ++of16) {
      const int tokens16 = (kFirstBlock + block) * (kInputBlock / 16) + of16;
      if (tokens16 < place_.warp) {  // all m before all k
#pragma unroll
        for (uint32_t& pair : mixing[of16]) pair = 0;
        continue;
      }
      float f[2][4];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int i = of16 * 2 + half;
        const int first_m = tokens16 * 16 + half * 8 + place_.column;
        const float4 bc4 = BcOf(block, i);
        const float bc[4] = {bc4.x, bc4.y, bc4.z, bc4.w};
        float mixed[4];
        const float2 sum_m = cuda::LoadPair(sum + first_m);
        const int2 first = *reinterpret_cast<const int2*>(shared_.first + first_m);
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int k = place_.row + e / 2 * 8;
          const float decay =
              DecayBetween(k, sum_k[e / 2], first_m + e % 2, e % 2 == 0 ? sum_m.x : sum_m.y,
                           e % 2 == 0 ? first.x : first.y);
          const float dot = dots[4 * i + e];
          mixed[e] = bc[e] * decay;
          d_cb_[block * (kInputBlock / 2) + 4 * i + e] += dot * decay * dt[e / 2];
          f[half][e] = dot * mixed[e];
          if (tokens16 == place_.warp) {
            const bool is_own = k == first_m + e % 2;
            path_sums.own[e / 2] += is_own ? f[half][e] : 0.0f;
            path_sums.skip[e / 2] += is_own ? dot : 0.0f;
            f[half][e] = is_own ? 0.0f : f[half][e];
          }
        }
        mixing[of16][half * 2] = Pack(mixed[0], mixed[1]);
        mixing[of16][half * 2 + 1] = Pack(mixed[2], mixed[3]);
      }
      float ending[2][2];  // sum_k dt_k F_mk
#pragma unroll
      for (int half = 0; half < 2; ++half) {
#pragma unroll
        for (int c = 0; c < 2; ++c) {
          path_sums.later[0] += f[half][c];
          path_sums.later[1] += f[half][2 + c];
          ending[half][c] = dt[0] * f[half][c] + dt[1] * f[half][2 + c];
        }
      }
      const float column_sum = ColumnSum(ending);
      if (!(place_.lane & 4)) {
        column_sums[place_.warp][tokens16 * 16 + place_.lane / 16 * 8 + place_.column +
                                 place_.lane / 8 % 2] = column_sum;
      }
    }
  }

  __device__ __forceinline__ void StoreHead(const InputStage& stage, int head, int turn,
                                            const float (&dt)[2], const float (&leaving)[2],
                                            const PathSums& sums, float (&v)[kHeadDim / 2]) {
    const float skip = cuda::ToFloat(args_.p.skip[head]);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int k = place_.row + r * 8;
      const float path_sum = cuda::RowOfSumsSum(sums.later[r] + leaving[r]);
      const float own_sum = cuda::RowOfSumsSum(sums.own[r]);
      const float skip_sum = cuda::RowOfSumsSum(sums.skip[r]);
      if (place_.column == 0) {
        shared_.row_sums[turn][0][k] = path_sum + own_sum;
        shared_.row_sums[turn][1][k] = dt[r] * path_sum;
        shared_.row_sums[turn][2][k] = skip_sum;
      }
#pragma unroll
      for (int i = 0; i < kHeadDim / 8; ++i) {
        const float2 d_y = PairOf(stage.d_y, k, i);
        v[4 * i + 2 * r] = dt[r] * v[4 * i + 2 * r] + skip * d_y.x;
        v[4 * i + 2 * r + 1] = dt[r] * v[4 * i + 2 * r + 1] + skip * d_y.y;
      }
    }
    const int first = place_.warp * kRowsOfWarp;
    StoreRows(v, 1.0f, shared_.staging[place_.warp],
              args_.d_x[chunk_.first_token + first] + head * kHeadDim, args_.d_x.stride,
              chunk_.length - first);
  }

  // By the first group's threads, one for each token.
  __device__ __forceinline__ void StoreSums(int head, int turn) {
    const int t = static_cast<int>(threadIdx.x);
    float* const to = args_.token_sums +
                      (int64_t{blockIdx.x} * args_.p.heads + head) * (kNumSsdTokenSums * kChunk) +
                      t;
    float ending = 0;
#pragma unroll
    for (int w = 0; w < kChunk / 16; ++w) {
      if (w <= t / 16) ending += shared_.column_sums[turn][w][t];
    }
    const auto& sums = shared_.row_sums[turn];
    to[kSsdDirect * kChunk] = sums[0][t];
    to[kSsdFlow * kChunk] = sums[1][t] - ending;
    to[kSsdSkip * kChunk] = sums[2][t];
  }

  __device__ __forceinline__ void FinishGroup() {
    const int group = static_cast<int>(blockIdx.y), first = place_.warp * kRowsOfWarp;
    unsigned char* const staging = shared_.staging[place_.warp];
    __nv_bfloat16* const to =
        args_.d_cb + ((int64_t{blockIdx.x} * args_.p.groups + group) * kChunk + first) * kChunk;
    StoreRows(d_cb_, 1.0f, staging, to + kFirstBlock * kInputBlock, kChunk, kRowsOfWarp);
    const uint64_t c = GroupRows::Descriptor(RowsOfBlock(shared_.stages[ring_.stage].x, 0));
    uint32_t a[kBlocks * kInputBlock / 16][4];
#pragma unroll
    for (int i = 0; i < kBlocks * kInputBlock / 16; ++i) {
      const float* const s = d_cb_ + i * 8;
#pragma unroll
      for (int j = 0; j < 4; ++j) a[i][j] = Pack(s[2 * j], s[2 * j + 1]);
    }
    Pin(d_b_);
    cute::warpgroup_arrive();
#pragma unroll
    for (int i = 0; i < kBlocks * kInputBlock / 16; ++i) {
      Multiply<kStateSize, Major::MN>(a[i], c + GroupRows::Rows(i), true, d_b_);
    }
    cute::warpgroup_commit_batch();
    cute::warpgroup_wait<0>();
    Pin(d_b_);
    StoreRows(d_b_, 1.0f, staging, args_.d_b[chunk_.first_token + first] + group * kStateSize,
              args_.d_b.stride, chunk_.length - first);
  }

  const InputArgs& args_;
  const SsdChunk& chunk_;
  InputShared& shared_;
  const GroupPlace place_;
  RingPlace<kInputStages> ring_;
  float d_cb_[kBlocks * kInputBlock / 2];
  float d_b_[kStateSize / 2];
};

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_SSD_HOPPER_TOKEN_GROUP_CUH_
