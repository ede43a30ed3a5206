// usage: wait_across_hosts WAY
//
// One of four processes with the variables of torchrun. Ranks 0 and 2 wait in WAY for ranks 1 and
// 3, which never do their part and say that they are at work; .ci/two_hosts cuts the link between
// {0, 1} and {2, 3} then. Prints "waits", at the end "error: " and the failure; exit code 4.

#include <cstdint>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "hetero/base/status.h"
#include "hetero/comm/communicator.h"
#include "hetero/comm/rendezvous/launch_place.h"
#include "hetero/comm/rendezvous/rendezvous.h"
#include "hetero/comm/rendezvous/server.h"
#include "hetero/comm/run_rank.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {
namespace {

constexpr absl::Duration kTimeout = absl::Seconds(2);
// More than sockets hold: it leaves only when it is received.
constexpr int64_t kElements = 16 << 20;
const Group kAll = {GlobalRank(0), GlobalRank(1), GlobalRank(2), GlobalRank(3)};

struct Waiter {
  Rendezvous& rendezvous;
  CommunicatorFactory& factory;
  Communicator& comm;  // of all four
  Stream& stream;
  std::vector<float> values = std::vector<float>(kElements);

  TensorView View(int64_t size) { return TensorView(std::span(values).first(size), {size}); }
};

absl::Status WaitForMessages(Waiter& waiter, const std::vector<SendRequest>& sends,
                             const std::vector<ReceiveRequest>& receives) {
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<TransferHandle> messages,
                          waiter.comm.Exchange(sends, receives, waiter.stream, "messages"));
  return messages->Wait();
}

// The rank of the other host that does nothing, and is its own index among all.
GlobalRank IdleBeyond(GlobalRank rank) { return GlobalRank(rank == GlobalRank(0) ? 3 : 1); }

using Way = std::function<absl::Status(Waiter&)>;

std::map<std::string, Way> Ways() {
  return {
      {"value",
       [](Waiter& waiter) {
         return waiter.rendezvous.Get("never", IdleBeyond(waiter.rendezvous.rank())).status();
       }},
      {"barrier", [](Waiter& waiter) { return waiter.rendezvous.Barrier("never", kAll); }},
      {"communicator",
       [](Waiter& waiter) {
         return waiter.factory.Create({"never", kAll}).status();
       }},
      {"all_reduce",
       [](Waiter& waiter) {
         return waiter.comm.AllReduce(waiter.View(8), waiter.View(8), ReduceOp::kSum, waiter.stream,
                                      "sum");
       }},
      {"all_gather",
       [](Waiter& waiter) {
         std::vector<float> all(32);
         return waiter.comm.AllGather(waiter.View(8), TensorView(std::span(all), {32}),
                                      waiter.stream, "all");
       }},
      {"all_to_all",
       [](Waiter& waiter) {
         std::vector<float> received(4);
         const std::vector<int64_t> rows(4, 1);
         return waiter.comm.AllToAllV(waiter.View(4), rows, TensorView(std::span(received), {4}),
                                      rows, waiter.stream, "rows");
       }},
      {"send",
       [](Waiter& waiter) {
         const GroupRank peer(IdleBeyond(waiter.rendezvous.rank()).value());
         return WaitForMessages(waiter, {{peer, waiter.View(kElements)}}, {});
       }},
      {"receive",
       [](Waiter& waiter) {
         const GroupRank peer(IdleBeyond(waiter.rendezvous.rank()).value());
         return WaitForMessages(waiter, {}, {{peer, waiter.View(kElements)}});
       }},
  };
}

absl::Status WorkForEver(Rendezvous& rendezvous) {
  while (rendezvous.HealthCheck().ok()) {
    rendezvous.GotOn();
    absl::SleepFor(absl::Milliseconds(50));
  }
  return rendezvous.HealthCheck();
}

absl::Status Run(const Way& way) {
  HETERO_ASSIGN_OR_RETURN(const auto place, FindLaunchPlace());
  if (!place.has_value() || place->world_size != 4) {
    return absl::InvalidArgumentError("this is one of four processes that a launcher starts");
  }
  std::unique_ptr<RendezvousServer> server;
  if (place->rank == GlobalRank(0)) {
    HETERO_ASSIGN_OR_RETURN(
        server,
        RendezvousServer::Start({.world_size = 4, .port = place->port, .timeout = kTimeout}));
  }
  HETERO_ASSIGN_OR_RETURN(const auto rendezvous, Rendezvous::Join({.rank = place->rank,
                                                                   .world_size = 4,
                                                                   .host = place->host,
                                                                   .port = place->port,
                                                                   .timeout = kTimeout}));
  const absl::Status status =
      RunRank(*rendezvous,
              [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
                Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
                Stream stream(Device{}, workspace);
                HETERO_ASSIGN_OR_RETURN(const auto comm, factory.Create({"all", kAll}));
                std::cout << "waits" << std::endl;
                if (rank.value() % 2 == 1) return WorkForEver(*rendezvous);
                Waiter waiter{*rendezvous, factory, *comm, stream};
                return way(waiter);
              },
              {.timeout = kTimeout});
  rendezvous->Leave();
  return status;
}

}  // namespace
}  // namespace hetero

int main(int argc, char** argv) {
  const auto ways = hetero::Ways();
  const auto way = ways.find(argc == 2 ? argv[1] : "");
  if (way == ways.end()) {
    std::cerr << "usage: wait_across_hosts WAY, one of";
    for (const auto& [name, function] : ways) std::cerr << " " << name;
    std::cerr << std::endl;
    return 2;
  }
  const absl::Status status = hetero::Run(way->second);
  if (status.ok()) return 0;
  std::cerr << "error: " << status.message() << std::endl;
  return 4;
}
