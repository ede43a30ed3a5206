#include "hetero/comm/testing/process_ranks.h"

#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "hetero/comm/rendezvous/rendezvous.h"
#include "hetero/comm/rendezvous/server.h"
#include "hetero/comm/run_rank.h"

namespace hetero {

std::vector<absl::Status> RunProcessRanks(
    int64_t num_ranks, absl::FunctionRef<absl::Status(GlobalRank, CommunicatorFactory&)> function,
    absl::Duration timeout) {
  absl::StatusOr<std::unique_ptr<RendezvousServer>> server =
      RendezvousServer::Start({.world_size = num_ranks, .host = "127.0.0.1", .timeout = timeout});
  std::vector<absl::Status> results(static_cast<size_t>(num_ranks), server.status());
  if (!server.ok()) return results;
  std::vector<std::thread> threads;
  for (int64_t i = 0; i < num_ranks; ++i) {
    threads.emplace_back([&, i] {
      absl::Status& result = results[static_cast<size_t>(i)];
      absl::StatusOr<std::unique_ptr<Rendezvous>> rendezvous =
          Rendezvous::Join({.rank = GlobalRank(i),
                            .world_size = num_ranks,
                            .host = "127.0.0.1",
                            .port = (*server)->port(),
                            .timeout = timeout});
      result = rendezvous.status();
      if (!result.ok()) return;
      result = RunRank(**rendezvous, function, {.timeout = timeout});
      (*rendezvous)->Leave();
    });
  }
  for (std::thread& thread : threads) thread.join();
  return results;
}

}  // namespace hetero
