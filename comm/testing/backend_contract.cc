#include "hetero/comm/testing/backend_contract.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <random>
#include <span>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/base/status.h"
#include "hetero/tensor/stream.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

// What a test's rank has.
struct Rank {
  explicit Rank(GlobalRank r) : rank(r) {}

  GlobalRank rank;
  Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
  Stream stream{Device{}, workspace};
};

template <typename T>
TensorView View(std::vector<T>& values) {
  return TensorView(std::span<T>(values), {static_cast<int64_t>(values.size())});
}

Group Ranks(std::initializer_list<int64_t> values) {
  Group group;
  for (const int64_t value : values) group.emplace_back(value);
  return group;
}

Group World(int64_t size) {
  Group group;
  for (int64_t i = 0; i < size; ++i) group.emplace_back(i);
  return group;
}

absl::Status Expect(bool condition, std::string_view what) {
  return condition ? absl::OkStatus() : absl::InternalError(what);
}

TEST_P(BackendContract, AllReduceSumsInRankOrderBitwiseInPlaceAndApart) {
  std::vector<float> expected = RandomValues(0, count());
  for (int64_t i = 1; i < num_ranks(); ++i) {
    const std::vector<float> values = RandomValues(i, count());
    for (size_t j = 0; j < expected.size(); ++j) expected[j] += values[j];
  }
  EXPECT_THAT(
      Run(num_ranks(),
          [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
            Rank self(rank);
            HETERO_ASSIGN_OR_RETURN(auto comm, factory.Create({"model", World(num_ranks())}));
            for (int repeat = 0; repeat < 3; ++repeat) {
              std::vector<float> values = RandomValues(rank.value(), count());
              std::vector<float> apart(values.size(), std::nanf(""));
              HETERO_RETURN_IF_ERROR(
                  comm->AllReduce(View(values), View(apart), ReduceOp::kSum, self.stream, "apart"));
              HETERO_RETURN_IF_ERROR(Expect(apart == expected, "apart"));
              HETERO_RETURN_IF_ERROR(
                  Expect(values == RandomValues(rank.value(), count()), "input kept"));
              HETERO_RETURN_IF_ERROR(comm->AllReduce(View(values), View(values), ReduceOp::kSum,
                                                     self.stream, "in place"));
              HETERO_RETURN_IF_ERROR(Expect(values == expected, "in place"));
            }
            return absl::OkStatus();
          }),
      IsOk());
}

TEST_P(BackendContract, ReduceScatterThenAllGatherIsAllReduceBitwise) {
  EXPECT_THAT(
      Run(num_ranks(),
          [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
            Rank self(rank);
            HETERO_ASSIGN_OR_RETURN(auto comm, factory.Create({"gradient", World(num_ranks())}));
            const int64_t total = num_ranks() * count();
            std::vector<float> values = RandomValues(rank.value(), total);
            std::vector<float> reduced(values.size(), std::nanf(""));
            HETERO_RETURN_IF_ERROR(
                comm->AllReduce(View(values), View(reduced), ReduceOp::kSum, self.stream, "all"));
            const TensorView own = View(values).Rows(rank.value() * count(), count());
            HETERO_RETURN_IF_ERROR(comm->ReduceScatter(View(values), own, self.stream, "scatter"));
            HETERO_RETURN_IF_ERROR(comm->AllGather(own, View(values), self.stream, "gather"));
            return Expect(values == reduced, "gathered");
          }),
      IsOk());
}

TEST_P(BackendContract, AllToAllOfUnevenRowsThereAndBackIsIdentity) {
  // Rank s sends (s + 2 d) % 3 * scale rows to d: some pairs exchange nothing.
  const int64_t scale = count() / 8 + 1;
  const auto rows = [&](int64_t s, int64_t d) { return (s + 2 * d) % 3 * scale; };
  EXPECT_THAT(
      Run(num_ranks(),
          [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
            Rank self(rank);
            HETERO_ASSIGN_OR_RETURN(auto comm, factory.Create({"model", World(num_ranks())}));
            std::vector<int64_t> send, receive;
            for (int64_t i = 0; i < num_ranks(); ++i) {
              send.push_back(rows(rank.value(), i));
              receive.push_back(rows(i, rank.value()));
            }
            const int64_t num_sent = std::reduce(send.begin(), send.end());
            const int64_t num_received = std::reduce(receive.begin(), receive.end());
            std::vector<int64_t> there(static_cast<size_t>(2 * num_sent));
            size_t at = 0;
            for (int64_t i = 0; i < num_ranks(); ++i) {
              for (int64_t j = 0; j < send[static_cast<size_t>(i)]; ++j) {
                there[at++] = rank.value() * 1000 + i;
                there[at++] = j;
              }
            }
            std::vector<int64_t> arrived(static_cast<size_t>(2 * num_received), -1);
            const TensorView input(std::span<int64_t>(there), {num_sent, 2});
            const TensorView output(std::span<int64_t>(arrived), {num_received, 2});
            HETERO_RETURN_IF_ERROR(
                comm->AllToAllV(input, send, output, receive, self.stream, "there"));
            at = 0;
            for (int64_t i = 0; i < num_ranks(); ++i) {
              for (int64_t j = 0; j < receive[static_cast<size_t>(i)]; ++j) {
                HETERO_RETURN_IF_ERROR(
                    Expect(arrived[at] == i * 1000 + rank.value() && arrived[at + 1] == j, "tags"));
                at += 2;
              }
            }
            std::vector<int64_t> back(there.size(), -1);
            HETERO_RETURN_IF_ERROR(comm->AllToAllV(
                output, receive, TensorView(std::span<int64_t>(back), {num_sent, 2}), send,
                self.stream, "back"));
            return Expect(back == there, "back");
          }),
      IsOk());
}

TEST_P(BackendContract, BroadcastGivesEveryMemberTheRootsValues) {
  EXPECT_THAT(
      Run(num_ranks(),
          [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
            Rank self(rank);
            HETERO_ASSIGN_OR_RETURN(auto comm, factory.Create({"model", World(num_ranks())}));
            for (int64_t root = 0; root < num_ranks(); ++root) {
              std::vector<float> values = RandomValues(rank.value(), count());
              HETERO_RETURN_IF_ERROR(
                  comm->Broadcast(View(values), GroupRank(root), self.stream, "weights"));
              HETERO_RETURN_IF_ERROR(Expect(values == RandomValues(root, count()), "values"));
            }
            return absl::OkStatus();
          }),
      IsOk());
}

TEST_P(BackendContract, CrossedExchangesInFlightMatchInPostingOrder) {
  EXPECT_THAT(
      Run(num_ranks(),
          [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
            Rank self(rank);
            HETERO_ASSIGN_OR_RETURN(auto comm, factory.Create({"bridge", World(num_ranks())}));
            constexpr int64_t kInFlight = 4;
            // Message k from s to d, itself included, holds tags; k = 1 is empty for everybody.
            const auto tag = [](int64_t s, int64_t d, int64_t k) { return (s * 10 + d) * 10 + k; };
            const auto size = [&](int64_t k) { return k == 1 ? 0 : count() + k; };
            std::vector<std::vector<int64_t>> sent, received;
            for (int64_t k = 0; k < kInFlight; ++k) {
              for (int64_t peer = 0; peer < num_ranks(); ++peer) {
                sent.emplace_back(size(k), tag(rank.value(), peer, k));
                received.emplace_back(size(k), -1);
              }
            }
            std::vector<std::unique_ptr<TransferHandle>> handles;
            for (int64_t k = 0; k < kInFlight; ++k) {
              std::vector<SendRequest> sends;
              std::vector<ReceiveRequest> receives;
              for (int64_t peer = 0; peer < num_ranks(); ++peer) {
                const auto i = static_cast<size_t>(k * num_ranks() + peer);
                sends.push_back({GroupRank(peer), View(sent[i])});
                receives.push_back({GroupRank(peer), View(received[i])});
              }
              HETERO_ASSIGN_OR_RETURN(handles.emplace_back(),
                                      comm->Exchange(sends, receives, self.stream, "exchange"));
            }
            for (auto handle = handles.rbegin(); handle != handles.rend(); ++handle) {
              HETERO_RETURN_IF_ERROR((*handle)->Wait());
            }
            for (int64_t k = 0; k < kInFlight; ++k) {
              for (int64_t peer = 0; peer < num_ranks(); ++peer) {
                const std::vector<int64_t> expected(static_cast<size_t>(size(k)),
                                                    tag(peer, rank.value(), k));
                HETERO_RETURN_IF_ERROR(Expect(
                    received[static_cast<size_t>(k * num_ranks() + peer)] == expected, "message"));
              }
            }
            return absl::OkStatus();
          }),
      IsOk());
}

TEST_P(BackendWorldContract, OverlappingFamiliesReduceIndependently) {
  // Rows and columns of a 2 x 2 grid, and the world, of the rank numbers.
  EXPECT_THAT(Run(4,
                  [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
                    Rank self(rank);
                    const bool upper = rank >= GlobalRank(2);
                    const bool odd = rank.value() % 2 == 1;
                    const std::vector<CommunicatorKey> keys = {
                        {"model", upper ? Ranks({2, 3}) : Ranks({0, 1})},
                        {"gradient", odd ? Ranks({1, 3}) : Ranks({0, 2})},
                        {"control", World(4)}};
                    for (const CommunicatorKey& key : keys) {
                      HETERO_ASSIGN_OR_RETURN(auto comm, factory.Create(key));
                      int64_t sum = 0;
                      for (const GlobalRank member : key.members) sum += member.value();
                      const std::pair<ReduceOp, int64_t> cases[] = {
                          {ReduceOp::kSum, sum},
                          {ReduceOp::kMax, key.members.back().value()},
                          {ReduceOp::kMin, key.members.front().value()}};
                      for (const auto& [op, expected] : cases) {
                        std::vector<int32_t> value = {static_cast<int32_t>(rank.value())};
                        HETERO_RETURN_IF_ERROR(
                            comm->AllReduce(View(value), View(value), op, self.stream, "rank"));
                        HETERO_RETURN_IF_ERROR(Expect(value[0] == expected, comm->ToString()));
                      }
                    }
                    return absl::OkStatus();
                  }),
              IsOk());
}

TEST_P(BackendWorldContract, RandomExchangesDeliverEveryMessageOnce) {
  // A common random list of (source, destination, size); each rank posts its part in list order, in
  // batches of its own choice.
  constexpr int64_t kRanks = 4;
  const uint64_t seed = FreshSeed();
  struct Planned {
    int64_t source, destination, size;
  };
  std::mt19937_64 random(seed);
  std::vector<Planned> plan(300);
  for (Planned& p : plan) {
    p = {.source = static_cast<int64_t>(random() % kRanks),
         .destination = static_cast<int64_t>(random() % kRanks),
         .size = static_cast<int64_t>(random() % 3 * (random() % 2000))};
  }
  EXPECT_THAT(
      Run(kRanks,
          [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
            Rank self(rank);
            HETERO_ASSIGN_OR_RETURN(auto comm, factory.Create({"bridge", World(kRanks)}));
            std::mt19937_64 choice(seed + 1 + static_cast<uint64_t>(rank.value()));
            std::vector<std::vector<int32_t>> buffers(2 * plan.size());
            std::vector<std::unique_ptr<TransferHandle>> handles;
            std::vector<SendRequest> sends;
            std::vector<ReceiveRequest> receives;
            for (size_t i = 0; i < plan.size(); ++i) {
              const Planned& p = plan[i];
              if (p.source == rank.value()) {
                buffers[2 * i].assign(static_cast<size_t>(p.size), static_cast<int32_t>(i));
                sends.push_back({GroupRank(p.destination), View(buffers[2 * i])});
              }
              if (p.destination == rank.value()) {
                buffers[2 * i + 1].assign(static_cast<size_t>(p.size), -1);
                receives.push_back({GroupRank(p.source), View(buffers[2 * i + 1])});
              }
              if (choice() % 5 == 0 || i + 1 == plan.size()) {
                HETERO_ASSIGN_OR_RETURN(handles.emplace_back(),
                                        comm->Exchange(sends, receives, self.stream, "random"));
                sends.clear();
                receives.clear();
              }
            }
            for (auto& handle : handles) HETERO_RETURN_IF_ERROR(handle->Wait());
            for (size_t i = 0; i < plan.size(); ++i) {
              if (plan[i].destination != rank.value()) continue;
              HETERO_RETURN_IF_ERROR(Expect(
                  std::ranges::all_of(buffers[2 * i + 1],
                                      [&](int32_t v) { return v == static_cast<int32_t>(i); }),
                  "message"));
            }
            return absl::OkStatus();
          }),
      IsOk());
}

}  // namespace
}  // namespace hetero
