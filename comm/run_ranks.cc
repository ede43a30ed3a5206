#include "hetero/comm/run_ranks.h"

#include <exception>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "hetero/base/status.h"
#include "hetero/comm/nccl/nccl_world.h"
#include "hetero/comm/rank_world.h"
#include "hetero/comm/threads/threads_world.h"

namespace hetero {
namespace {

absl::StatusOr<std::unique_ptr<RankWorld>> MakeWorld(int64_t num_ranks,
                                                     const RunRanksOptions& options) {
  if (options.backend == RankBackend::kThreads) {
    return std::make_unique<ThreadsWorld>(num_ranks, ThreadsOptions{.timeout = options.timeout});
  }
  CHECK_EQ(static_cast<int64_t>(options.devices.size()), num_ranks);
  return CreateNcclWorld(options.devices, {.timeout = options.timeout});
}

absl::Status Guarded(absl::FunctionRef<absl::Status()> function) {
  try {
    return function();
  } catch (const std::exception& exception) {
    return absl::InternalError(absl::StrCat("uncaught exception: ", exception.what()));
  } catch (...) {
    return absl::InternalError("uncaught exception of an unknown type");
  }
}

}  // namespace

absl::Status RunRanks(int64_t num_ranks,
                      absl::FunctionRef<absl::Status(GlobalRank, CommunicatorFactory&)> function,
                      const RunRanksOptions& options) {
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<RankWorld> owned, MakeWorld(num_ranks, options));
  RankWorld& world = *owned;
  std::vector<absl::Status> results(static_cast<size_t>(num_ranks));
  std::vector<std::thread> threads;
  for (int64_t i = 0; i < num_ranks; ++i) {
    threads.emplace_back([&, i] {
      const std::unique_ptr<CommunicatorFactory> factory = world.Factory(GlobalRank(i));
      absl::Status& result = results[static_cast<size_t>(i)];
      result = Annotate(Guarded([&] { return function(GlobalRank(i), *factory); }),
                        absl::StrCat("rank ", i));
      if (!result.ok()) world.Abort(result);
    });
  }
  for (std::thread& thread : threads) thread.join();

  absl::Status first = world.HealthCheck();
  std::vector<std::string> others;
  for (int64_t i = 0; i < num_ranks; ++i) {
    const absl::Status& result = results[static_cast<size_t>(i)];
    if (result.ok()) continue;
    // A communicator reports the failure first; what the rank returned says more of where it was.
    const bool is_first = result.code() == first.code() &&
                          absl::StartsWith(first.message(), absl::StrCat("rank ", i, ":"));
    if (is_first) {
      first = result;
    } else {
      others.push_back(result.ToString());
    }
  }
  if (!first.ok()) {
    first.SetPayload(kLastCallsPayload, absl::Cord(world.DescribeLastCalls()));
  }
  if (!others.empty()) {
    first.SetPayload(kOtherRanksPayload, absl::Cord(absl::StrJoin(others, "\n")));
  }
  return first;
}

absl::Status AbortOnFailure(GlobalRank rank, CommunicatorFactory& factory,
                            absl::FunctionRef<absl::Status()> body) {
  const absl::Status status = Guarded(body);
  if (!status.ok()) factory.AbortAll(Annotate(status, absl::StrCat("rank ", rank)));
  return status;
}

}  // namespace hetero
