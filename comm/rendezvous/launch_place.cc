#include "hetero/comm/rendezvous/launch_place.h"

#include <array>
#include <cstdlib>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "hetero/base/status.h"

namespace hetero {
namespace {

// Below the ports that Linux gives to whoever asks for any.
constexpr int kFirstPort = 20000;
constexpr int kNumPorts = 12000;

struct Variables {
  std::string_view launcher;
  const char* rank;
  const char* world_size;
  const char* local_rank;
  // The first that is set tells jobs of one machine apart; null: none.
  std::array<const char*, 2> job = {};
};

constexpr Variables kLaunchers[] = {
    {"hetero", internal::kRankVariable, internal::kWorldSizeVariable, internal::kLocalRankVariable},
    {"torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK"},
    // Of a step: the script of a batch job has SLURM_NTASKS too, and is one process.
    {"srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", {"SLURM_JOB_ID"}},
    {"mpirun",
     "OMPI_COMM_WORLD_RANK",
     "OMPI_COMM_WORLD_SIZE",
     "OMPI_COMM_WORLD_LOCAL_RANK",
     {"PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid"}},
    {"PMI", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", {"PMI_JOBID", "HYDI_CONTROL_FD"}},
};

int PortOfJob(std::string_view job) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : job) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return kFirstPort + static_cast<int>(hash % kNumPorts);
}

class Reader {
 public:
  Reader(const GetVariable& get, std::string_view launcher) : get_(get), launcher_(launcher) {}

  absl::StatusOr<int64_t> Number(const char* name, int64_t from, int64_t to) const {
    const std::optional<std::string> text = get_(name);
    int64_t value = 0;
    if (text.has_value() && absl::SimpleAtoi(*text, &value) && value >= from && value <= to) {
      return value;
    }
    return absl::InvalidArgumentError(absl::StrCat("variable ", name, " of ", launcher_, " is '",
                                                   text.value_or(""), "', must be a number from ",
                                                   from, " to ", to));
  }

 private:
  const GetVariable& get_;
  const std::string_view launcher_;
};

absl::Status SetAddress(const GetVariable& get, const Variables& variables, const Reader& reader,
                        LaunchPlace& place) {
  if (variables.launcher == "hetero") {
    const std::string address = get(internal::kRendezvousVariable).value_or("");
    const size_t colon = address.rfind(':');
    if (colon == std::string::npos || !absl::SimpleAtoi(address.substr(colon + 1), &place.port)) {
      return absl::InvalidArgumentError(absl::StrCat("variable ", internal::kRendezvousVariable,
                                                     " is '", address, "', must be HOST:PORT"));
    }
    place.host = address.substr(0, colon);
    place.is_listening = true;
    const auto descriptor = [&](const char* name, int& value) -> absl::Status {
      if (!get(name).has_value()) return absl::OkStatus();
      HETERO_ASSIGN_OR_RETURN(const int64_t number, reader.Number(name, 0, 1 << 20));
      value = static_cast<int>(number);
      return absl::OkStatus();
    };
    HETERO_RETURN_IF_ERROR(descriptor(internal::kListeningVariable, place.listening));
    return descriptor(internal::kFailuresVariable, place.failures);
  }
  if (const std::optional<std::string> host = get("MASTER_ADDR")) {
    place.host = *host;
  } else if (variables.launcher == "srun") {
    place.host =
        FirstHost(get("SLURM_STEP_NODELIST").value_or(get("SLURM_JOB_NODELIST").value_or("")));
  }
  if (place.host.empty()) place.host = "127.0.0.1";
  if (get("MASTER_PORT").has_value()) {
    HETERO_ASSIGN_OR_RETURN(const int64_t port, reader.Number("MASTER_PORT", 1, 65534));
    // At the port itself torchrun's own store may listen.
    place.port = static_cast<int>(port) + 1;
    return absl::OkStatus();
  }
  std::string job;
  for (const char* name : variables.job) {
    if (name != nullptr && job.empty()) job = get(name).value_or("");
  }
  place.port = PortOfJob(job);
  return absl::OkStatus();
}

}  // namespace

std::optional<std::string> EnvironmentVariable(const char* name) {
  const char* const value = std::getenv(name);
  if (value == nullptr) return std::nullopt;
  return value;
}

std::string FirstHost(std::string_view slurm_list) {
  const size_t end = slurm_list.find_first_of(",[");
  std::string host(slurm_list.substr(0, end));
  if (end == std::string_view::npos || slurm_list[end] == ',') return host;
  slurm_list.remove_prefix(end + 1);
  const size_t number = slurm_list.find_first_not_of("0123456789");
  absl::StrAppend(&host, slurm_list.substr(0, number));
  return host;
}

absl::StatusOr<std::optional<LaunchPlace>> FindLaunchPlace(const GetVariable& get) {
  for (const Variables& variables : kLaunchers) {
    const bool has_rank = get(variables.rank).has_value();
    const bool has_size = get(variables.world_size).has_value();
    // Slurm sets the rank of a batch script as well.
    if (!has_rank || (!has_size && variables.launcher == "srun")) {
      if (!has_size || variables.launcher == "srun") continue;
    }
    std::vector<std::string> missing;
    for (const char* name : {variables.rank, variables.world_size}) {
      if (!get(name).has_value()) missing.emplace_back(name);
    }
    if (variables.launcher == "torchrun") {
      for (const char* name : {"MASTER_ADDR", "MASTER_PORT"}) {
        if (!get(name).has_value()) missing.emplace_back(name);
      }
    }
    if (!missing.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("of the variables of ", variables.launcher, ", ",
                       has_rank ? variables.rank : variables.world_size, " is set, but ",
                       absl::StrJoin(missing, ", "), missing.size() == 1 ? " is not" : " are not"));
    }
    const Reader reader(get, variables.launcher);
    LaunchPlace place{.launcher = std::string(variables.launcher)};
    HETERO_ASSIGN_OR_RETURN(place.world_size, reader.Number(variables.world_size, 1, 1 << 20));
    HETERO_ASSIGN_OR_RETURN(const int64_t rank,
                            reader.Number(variables.rank, 0, place.world_size - 1));
    place.rank = GlobalRank(rank);
    if (get(variables.local_rank).has_value()) {
      HETERO_ASSIGN_OR_RETURN(place.local_rank,
                              reader.Number(variables.local_rank, 0, place.world_size - 1));
    }
    if (place.world_size == 1) return std::nullopt;
    HETERO_RETURN_IF_ERROR(SetAddress(get, variables, reader, place));
    return place;
  }
  return std::nullopt;
}

}  // namespace hetero
