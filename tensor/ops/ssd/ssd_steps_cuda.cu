#include <cstdint>

#include "hetero/tensor/ops/ssd/ssd_tiles.cuh"

// The scan's scalars: one warp takes one head of one chunk, each lane consecutive tokens of it.

namespace hetero::internal {
namespace {

constexpr int kHeadsPerBlock = 16;  // whole sectors of bf16
constexpr int kThreads = kHeadsPerBlock * cuda::kWarpSize;
constexpr unsigned kAll = 0xffffffffu;

// f(before, value) of all lanes up to and including this one, in order.
template <typename V, typename Combine>
__device__ V InclusiveScan(V value, Combine combine) {
#pragma unroll
  for (int distance = 1; distance < cuda::kWarpSize; distance *= 2) {
    const V before = __shfl_up_sync(kAll, value, distance);
    if (cuda::Lane() >= distance) value = combine(before, value);
  }
  return value;
}

// A tile of a chunk's tokens and a block's heads: token-major in memory, read and written by whole
// rows, a warp's row here.
template <typename Tile>
struct TokenTile {
  float of[kHeadsPerBlock][Tile::kChunk + 1];

  // Calls function(element, token, head) for all elements of the problem, spread over the block.
  template <typename Function>
  __device__ void ForEach(int length, int first_head, int heads, Function function) {
    for (int i = static_cast<int>(threadIdx.x); i < length * kHeadsPerBlock; i += kThreads) {
      const int h = i % kHeadsPerBlock;
      const int t = i / kHeadsPerBlock;
      if (first_head + h < heads) function(of[h][t], t, first_head + h);
    }
  }
};

// Cumulative sums are f64: in a long chunk with strong decay their f32 rounding would be far larger
// than that of the differences which matter.
template <typename T, typename Tile>
__global__ __launch_bounds__(kThreads) void StepsKernel(SsdCudaProblem<T> p) {
  constexpr int kTokens = Tile::kChunk / cuda::kWarpSize;  // a lane's
  constexpr int kNone = -1;
  const SsdChunk chunk(p, blockIdx.x);
  const int first_head = static_cast<int>(blockIdx.y) * kHeadsPerBlock;
  const int warp = static_cast<int>(threadIdx.x) / cuda::kWarpSize;
  const int head = first_head + warp;
  const int begin = cuda::Lane() * kTokens;
  __shared__ TokenTile<Tile> raw;
  raw.ForEach(chunk.length, first_head, p.heads, [&](float& value, int t, int h) {
    value = cuda::ToFloat(p.dt_raw[chunk.first_token + t][h]);
  });
  __syncthreads();
  if (head >= p.heads) return;
  const float bias = cuda::ToFloat(p.dt_bias[head]);
  const double a = -expf(cuda::ToFloat(p.a_log[head]));
  float dt[kTokens];
  double cumulative[kTokens];
  int first[kTokens];
#pragma unroll
  for (int i = 0; i < kTokens; ++i) {
    const bool is_inside = begin + i < chunk.length;
    const int64_t t = chunk.first_token + begin + i;
    const float step = cuda::Softplus(raw.of[warp][begin + i] + bias);
    // What compares with nothing (NaN) stays.
    const float limited = step < p.min_step ? p.min_step : step > p.max_step ? p.max_step : step;
    dt[i] = is_inside ? limited : 0.0f;
    cumulative[i] = dt[i] * a + (i == 0 ? 0.0 : cumulative[i - 1]);
    bool starts = chunk.is_first && begin + i == 0;
    if (is_inside && !starts && p.sequence_index != nullptr) {
      starts = p.sequence_index[t] != p.sequence_index[t - 1];
    }
    first[i] = starts ? begin + i : (i == 0 ? kNone : first[i - 1]);
  }
  const double before =
      InclusiveScan(cumulative[kTokens - 1], cuda::Sum()) - cumulative[kTokens - 1];
  const int latest = InclusiveScan(first[kTokens - 1], [](int x, int y) { return max(x, y); });
  int latest_before = __shfl_up_sync(kAll, latest, 1);
  if (cuda::Lane() == 0) latest_before = kNone;
  const int latest_at_end = __shfl_sync(kAll, latest, cuda::kWarpSize - 1);
  const double at_end = __shfl_sync(kAll, cumulative[kTokens - 1] + before, cuda::kWarpSize - 1);
  float steps[kNumSsdSteps][kTokens];
#pragma unroll
  for (int i = 0; i < kTokens; ++i) {
    const double sum = cumulative[i] + before;
    const double exponent = sum * kSsdExponentUnit<T>;
    const bool reaches_end = begin + i < chunk.length && begin + i >= latest_at_end;
    first[i] = max(first[i], latest_before);
    steps[kSsdDt][i] = dt[i];
    steps[kSsdCumulative][i] = static_cast<float>(exponent);
    steps[kSsdCumulativeLow][i] = static_cast<float>(exponent - steps[kSsdCumulative][i]);
    steps[kSsdToEnd][i] = reaches_end ? expf(static_cast<float>(at_end - sum)) : 0.0f;
    steps[kSsdIntoState][i] = dt[i] * steps[kSsdToEnd][i];
    steps[kSsdFromStart][i] = first[i] == kNone ? expf(static_cast<float>(sum)) : 0.0f;
  }
  float* const to = p.template Steps<Tile>(blockIdx.x, head) + begin;
#pragma unroll
  for (int step = 0; step < kNumSsdSteps; ++step) {
    cuda::Store(steps[step], to + step * Tile::kChunk);
  }
  if (head == 0) {
#pragma unroll
    for (int i = 0; i < kTokens; ++i) {
      p.first[int64_t{blockIdx.x} * Tile::kChunk + begin + i] = first[i];
    }
  }
}

// With a_t = dt_t A, and the sums of ssd_backward_cuda.cu,
//   d a_t = delta + sum_{m >= t} entering_m + sum_{j < t} flow_j,
// delta = <entering state, gradient of the leaving state> times the decay of the whole chunk.
template <typename T, typename Tile>
__global__ __launch_bounds__(kThreads) void StepGradientsKernel(SsdCudaProblem<T> p,
                                                                const float* token_sums,
                                                                const float* state_sums,
                                                                cuda::Rows<T> d_dt_raw,
                                                                float* partials) {
  constexpr int kTokens = Tile::kChunk / cuda::kWarpSize;
  const SsdChunk chunk(p, blockIdx.x);
  const int first_head = static_cast<int>(blockIdx.y) * kHeadsPerBlock;
  const int warp = static_cast<int>(threadIdx.x) / cuda::kWarpSize;
  const int lane = cuda::Lane();
  const int begin = lane * kTokens;
  __shared__ TokenTile<Tile> raw;  // and what becomes of its gradients
  raw.ForEach(chunk.length, first_head, p.heads, [&](float& value, int t, int h) {
    value = cuda::ToFloat(p.dt_raw[chunk.first_token + t][h]);
  });
  __syncthreads();
  if (const int head = first_head + warp; head < p.heads) {
    const int64_t chunk_head = int64_t{blockIdx.x} * p.heads + head;
    const float* const steps = p.template Steps<Tile>(blockIdx.x, head);
    const float* const sums = token_sums + chunk_head * (kNumSsdTokenSums * Tile::kChunk) + begin;
    const float bias = cuda::ToFloat(p.dt_bias[head]);
    const float a = -expf(cuda::ToFloat(p.a_log[head]));
    float dt[kTokens], direct[kTokens], flow[kTokens], skip[kTokens];
    float entering[kTokens] = {}, far[kTokens] = {};
    cuda::Load(steps + kSsdDt * Tile::kChunk + begin, dt);
    cuda::Load(sums + kSsdDirect * Tile::kChunk, direct);
    cuda::Load(sums + kSsdFlow * Tile::kChunk, flow);
    cuda::Load(sums + kSsdSkip * Tile::kChunk, skip);
    if (!chunk.is_first) {
      cuda::Load(sums + kSsdEntering * Tile::kChunk, entering);
      cuda::Load(sums + kSsdEnteringFar * Tile::kChunk, far);
    }
    float later[kTokens], earlier[kTokens];  // inclusive, exclusive, inside the lane
    float entering_sum = 0, flow_sum = 0;
#pragma unroll
    for (int i = 0; i < kTokens; ++i) {
      const int mirrored = kTokens - 1 - i;
      entering_sum += entering[mirrored] + far[mirrored];
      later[mirrored] = entering_sum;
      earlier[i] = flow_sum;
      flow_sum += flow[i];
    }
    float delta = 0;
    if (!chunk.is_first && !chunk.is_last) {
      constexpr int kParts = Tile::kExtents.num_state_parts();
      delta = lane < kParts ? state_sums[chunk_head * kParts + lane] : 0.0f;
      delta = cuda::WarpSum(delta) * steps[kSsdFromStart * Tile::kChunk + Tile::kChunk - 1];
    }
    // Of the lanes before, and, mirrored, of the lanes after.
    float earlier_lanes = __shfl_up_sync(kAll, InclusiveScan(flow_sum, cuda::Sum()), 1);
    if (lane == 0) earlier_lanes = 0;
    float later_lanes = entering_sum;
#pragma unroll
    for (int distance = 1; distance < cuda::kWarpSize; distance *= 2) {
      const float after = __shfl_down_sync(kAll, later_lanes, distance);
      if (lane + distance < cuda::kWarpSize) later_lanes += after;
    }
    later_lanes = __shfl_down_sync(kAll, later_lanes, 1);
    if (lane == cuda::kWarpSize - 1) later_lanes = 0;
    float bias_sum = 0, a_sum = 0, skip_sum = 0;
#pragma unroll
    for (int i = 0; i < kTokens; ++i) {
      if (begin + i >= chunk.length) continue;
      float& value = raw.of[warp][begin + i];
      const float d_a = delta + (later_lanes + later[i]) + (earlier_lanes + earlier[i]);
      bool passes = true;
      if (p.limits_steps) {
        const float step = cuda::Softplus(value + bias);
        passes = !(step < p.min_step || step > p.max_step);
      }
      value = passes ? (direct[i] + a * d_a) * cuda::Sigmoid(value + bias) : 0.0f;
      bias_sum += value;
      a_sum += dt[i] * d_a;
      skip_sum += skip[i];
    }
    bias_sum = cuda::WarpSum(bias_sum);
    a_sum = a * cuda::WarpSum(a_sum);
    skip_sum = cuda::WarpSum(skip_sum);
    if (lane == 0) {
      float* const to = partials + int64_t{blockIdx.x} * (kNumSsdParameters * p.heads) + head;
      to[0] = bias_sum;
      to[p.heads] = a_sum;
      to[2 * p.heads] = skip_sum;
    }
  }
  __syncthreads();
  raw.ForEach(chunk.length, first_head, p.heads, [&](float value, int t, int h) {
    d_dt_raw[chunk.first_token + t][h] = cuda::FromFloat<T>(value);
  });
}

struct GradientPlace {
  int64_t heads;
  float* of[kNumSsdParameters];

  __device__ float* operator()(int64_t i) const {
    float* const gradient = of[i / heads];
    return gradient == nullptr ? nullptr : gradient + i % heads;
  }
};

template <typename T>
cuda::LaunchShape ShapeOf(const SsdCudaProblem<T>& p) {
  return {.grid = {static_cast<unsigned>(p.num_chunks()), cuda::NumBlocks(p.heads, kHeadsPerBlock)},
          .block = kThreads};
}

}  // namespace

absl::Status SsdStepsCuda(const SsdInputs& inputs, const SsdCudaWorkspace& workspace,
                          Stream& stream) {
  return VisitSsd(inputs, [&]<typename T, typename Tile>() {
    const SsdCudaProblem<T> p(inputs, workspace, {});
    return HETERO_CUDA_LAUNCH((StepsKernel<T, Tile>), ShapeOf(p), stream, p);
  });
}

absl::Status SsdStepGradientsCuda(const SsdInputs& inputs, const SsdGradients& gradients,
                                  const SsdCudaWorkspace& workspace, Stream& stream) {
  HETERO_RETURN_IF_ERROR(VisitSsd(inputs, [&]<typename T, typename Tile>() {
    const SsdCudaProblem<T> p(inputs, workspace, {});
    return HETERO_CUDA_LAUNCH(
        (StepGradientsKernel<T, Tile>), ShapeOf(p), stream, p, workspace.token_sums.data<float>(),
        workspace.state_sums.data<float>(), cuda::RowsOf<T>(gradients.d_dt_raw_TH),
        workspace.partials.data<float>());
  }));
  const GradientPlace place = {
      inputs.shape.num_heads,
      {cuda::DataOrNull<float>(gradients.d_dt_bias_H), cuda::DataOrNull<float>(gradients.d_a_log_H),
       cuda::DataOrNull<float>(gradients.d_skip_H)}};
  return cuda::FoldParts(workspace.partials, gradients.accumulate, place, stream);
}

}  // namespace hetero::internal
