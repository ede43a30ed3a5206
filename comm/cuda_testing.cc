#include "hetero/comm/cuda_testing.h"

#include <cmath>
#include <random>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/comm/cuda_testing_turns.h"
#include "hetero/tensor/copy.h"

namespace hetero {
namespace {

constexpr int64_t kLoadBytes = int64_t{64} << 20;
constexpr int kLoadCopies = 40;  // 1 to 2 ms at 4 TB/s

}  // namespace

namespace internal {

Group World(const RunRanksOptions& options) {
  Group group;
  for (size_t i = 0; i < options.devices.size(); ++i) group.emplace_back(static_cast<int64_t>(i));
  return group;
}

std::vector<double> Values(DType dtype, int64_t rank, int64_t turn, int64_t count) {
  std::mt19937 random(static_cast<uint32_t>(rank * 1000 + turn));
  std::normal_distribution<float> normal(0.0f, 1e4f);
  std::vector<double> values(static_cast<size_t>(count));
  for (double& value : values) {
    const float drawn = normal(random);
    value = dtype == DType::kBF16 ? static_cast<float>(BFloat16(drawn))
            : IsFloating(dtype)   ? drawn
                                  : std::trunc(drawn);
  }
  return values;
}

absl::Status Expect(std::span<const double> actual, std::span<const double> expected,
                    std::string_view what, int64_t turn) {
  for (size_t i = 0; i < expected.size(); ++i) {
    if (actual[i] == expected[i]) continue;
    return absl::InternalError(absl::StrCat(what, ", turn ", turn, ": element ", i, " of ",
                                            expected.size(), " is ", actual[i], "; expected ",
                                            expected[i]));
  }
  return absl::OkStatus();
}

}  // namespace internal

GpuRank::GpuRank(GlobalRank rank, Device device)
    : rank_(rank),
      workspace_(Arena::Create(device, MemoryLabel::kWorkspace, 1 << 20, memory_).value()),
      load_(Buffer::Allocate(device, MemoryLabel::kData, 2 * kLoadBytes, memory_).value()),
      stream_(Stream::Create(device, workspace_).value()) {}

absl::Status GpuRank::Lag(int64_t turn, int64_t num_ranks) {
  if ((turn + rank_.value()) % num_ranks != 0) return absl::OkStatus();
  const TensorView halves = load_.View(DType::kF32, {2, kLoadBytes / 4});
  for (int i = 0; i < kLoadCopies; ++i) {
    HETERO_RETURN_IF_ERROR(CopyToDevice(halves.At(0), halves.At(1), *stream_));
  }
  return absl::OkStatus();
}

absl::Status RunGpuRanks(const RunRanksOptions& options, const GpuRankFunction& function) {
  const auto run = [&](GlobalRank rank, CommunicatorFactory& factory) {
    GpuRank self(rank, options.devices[static_cast<size_t>(rank.value())]);
    return AbortOnFailure(rank, factory, [&] { return function(self, factory); });
  };
  return RunRanks(static_cast<int64_t>(options.devices.size()), run, options);
}

}  // namespace hetero
