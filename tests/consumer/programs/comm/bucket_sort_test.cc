// Sorts keys that are spread over ranks: every rank sends each peer the keys of the peer's range,
// then sorts what it holds.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/base/status.h"
#include "hetero/comm/communicator.h"
#include "hetero/comm/run_ranks.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace {

constexpr std::int64_t kNumRanks = 3;
constexpr std::int64_t kKeysPerRank = 5000;
constexpr std::int64_t kKeyRange = 1 << 20;

template <typename T>
hetero::TensorView View(std::vector<T>& values) {
  return hetero::TensorView(std::span<T>(values), {static_cast<std::int64_t>(values.size())});
}

// A linear congruential sequence: any fixed scatter of keys does.
std::vector<std::int64_t> KeysOf(hetero::GlobalRank rank) {
  std::vector<std::int64_t> keys(kKeysPerRank);
  std::uint32_t state = 12345 + static_cast<std::uint32_t>(rank.value());
  for (std::int64_t& key : keys) {
    state = state * 1664525 + 1013904223;
    key = state % kKeyRange;
  }
  return keys;
}

std::int64_t BucketOf(std::int64_t key) { return key * kNumRanks / kKeyRange; }

absl::StatusOr<std::vector<std::int64_t>> Sort(std::vector<std::int64_t> keys,
                                               hetero::Communicator& peers,
                                               hetero::Stream& stream) {
  std::sort(keys.begin(), keys.end());
  std::vector<std::int64_t> to_send(kNumRanks);
  for (std::int64_t key : keys) ++to_send[BucketOf(key)];
  std::vector<std::int64_t> to_receive(kNumRanks);
  const std::vector<std::int64_t> one_each(kNumRanks, 1);
  HETERO_RETURN_IF_ERROR(
      peers.AllToAllV(View(to_send), one_each, View(to_receive), one_each, stream, "counts"));

  std::int64_t total = 0;
  for (std::int64_t count : to_receive) total += count;
  std::vector<std::int64_t> bucket(total);
  HETERO_RETURN_IF_ERROR(
      peers.AllToAllV(View(keys), to_send, View(bucket), to_receive, stream, "keys"));
  std::sort(bucket.begin(), bucket.end());
  return bucket;
}

}  // namespace

int main() {
  std::vector<hetero::GlobalRank> world;
  for (std::int64_t rank = 0; rank < kNumRanks; ++rank) world.emplace_back(rank);

  std::vector<std::vector<std::int64_t>> buckets(kNumRanks);
  const absl::Status status = hetero::RunRanks(
      kNumRanks,
      [&](hetero::GlobalRank rank, hetero::CommunicatorFactory& factory) -> absl::Status {
        hetero::Arena workspace = hetero::Arena::Counting(hetero::MemoryLabel::kWorkspace);
        hetero::Stream stream(hetero::Device{}, workspace);
        HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<hetero::Communicator> peers,
                                factory.Create({.channel = "sort", .members = world}));
        HETERO_ASSIGN_OR_RETURN(buckets[rank.value()], Sort(KeysOf(rank), *peers, stream));
        return absl::OkStatus();
      });
  if (!status.ok()) {
    std::fprintf(stderr, "%s\n", status.ToString().c_str());
    return EXIT_FAILURE;
  }

  std::vector<std::int64_t> expected;
  std::vector<std::int64_t> sorted;
  for (hetero::GlobalRank rank : world) {
    const std::vector<std::int64_t> keys = KeysOf(rank);
    expected.insert(expected.end(), keys.begin(), keys.end());
    const std::vector<std::int64_t>& bucket = buckets[rank.value()];
    std::printf("rank %lld holds %zu keys\n", static_cast<long long>(rank.value()), bucket.size());
    sorted.insert(sorted.end(), bucket.begin(), bucket.end());
  }
  std::sort(expected.begin(), expected.end());
  if (sorted != expected) {
    std::fprintf(stderr, "keys were lost or are out of order\n");
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}
