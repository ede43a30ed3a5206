#ifndef HETERO_TENSOR_OPS_ROUTER_ROUTER_SELECT_CUH_
#define HETERO_TENSOR_OPS_ROUTER_ROUTER_SELECT_CUH_

// How a warp finds the largest of a token's scores.

#include <cstdint>
#include <limits>

#include "hetero/tensor/ops/cuda_kernel.cuh"

namespace hetero::internal {

using cuda::kWarpSize;
inline constexpr unsigned kAllLanes = 0xffffffffu;

// In the order of the numbers; 0 for what is below all or compares with nothing (NaN).
__device__ inline uint32_t Key(float x) {
  if (!(x > -INFINITY)) return 0;
  const uint32_t bits = __float_as_uint(x + 0.0f);  // both zeros are one
  return bits >> 31 != 0 ? ~bits : bits | 1u << 31;
}

// What a warp selects from, expert e a number of lane e % 32.
template <int kPerLane>
class Selection {
 public:
  __device__ explicit Selection(int num_experts) : num_experts_(num_experts) {}

  // number(i, e): of expert e, the lane's i-th.
  template <typename Number>
  __device__ void Fill(Number number) {
    taken_ = 0;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      const int e = Expert(i);
      keys_[i] = e < num_experts_ ? Key(number(i, e)) : 0;
    }
  }

  // Takes the `count` largest. As on the CPU: ties to the lower expert, and what has no key last,
  // in index order.
  __device__ void Take(int count) {
    constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();
    for (int j = 0; j < count; ++j) {
      uint32_t largest = 0;
#pragma unroll
      for (int i = 0; i < kPerLane; ++i) largest = max(largest, keys_[i]);
      largest = __reduce_max_sync(kAllLanes, largest);
      uint32_t best = kNone;
#pragma unroll
      for (int i = kPerLane - 1; i >= 0; --i) {
        if (keys_[i] == largest && Expert(i) < num_experts_ && !taken(i)) best = Expert(i);
      }
      best = __reduce_min_sync(kAllLanes, best);
#pragma unroll
      for (int i = 0; i < kPerLane; ++i) {
        if (best != static_cast<uint32_t>(Expert(i))) continue;
        keys_[i] = 0;
        taken_ |= uint64_t{1} << i;
      }
    }
  }

  // visit(e, slot) for the lane's experts that are taken; `slot` counts all of them, ascending.
  template <typename Visit>
  __device__ void VisitTaken(Visit visit) const {
    const uint32_t lower = (1u << threadIdx.x % kWarpSize) - 1;
    int before = 0;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      const uint32_t lanes = __ballot_sync(kAllLanes, taken(i));
      if (taken(i)) visit(Expert(i), before + __popc(lanes & lower));
      before += __popc(lanes);
    }
  }

 private:
  __device__ static int Expert(int i) { return i * kWarpSize + threadIdx.x % kWarpSize; }
  __device__ bool taken(int i) const { return (taken_ >> i & 1) != 0; }

  const int num_experts_;
  uint32_t keys_[kPerLane];
  uint64_t taken_ = 0;  // bit i: the lane's i-th
};

// Leaves a warp's scores of the groups to choose from, and the others' below all that can be
// chosen, as on the CPU. `group_scores` is scratch of the warp; its scores are visible to it before
// and after.
__device__ inline void LimitToGroups(float* scores, int num_experts, int num_groups,
                                     int chosen_groups, float* group_scores) {
  const int lane = threadIdx.x % kWarpSize;
  const int size = num_experts / num_groups;
  for (int g = lane; g < num_groups; g += kWarpSize) {
    float largest = -INFINITY, second = -INFINITY;
    for (int e = g * size; e < (g + 1) * size; ++e) {
      if (scores[e] > largest) {
        second = largest;
        largest = scores[e];
      } else if (scores[e] > second) {
        second = scores[e];
      }
    }
    group_scores[g] = largest + second;
  }
  __syncwarp();
  for (int g = lane; g < num_groups; g += kWarpSize) {
    int better = 0;
    for (int other = 0; other < num_groups; ++other) {
      better += group_scores[other] > group_scores[g] ||
                (other < g && group_scores[other] == group_scores[g]);
    }
    if (better < chosen_groups) continue;
    for (int e = g * size; e < (g + 1) * size; ++e) scores[e] = -INFINITY;
  }
  __syncwarp();
}

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_ROUTER_ROUTER_SELECT_CUH_
