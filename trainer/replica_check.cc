#include "hetero/trainer/replica_check.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "hetero/base/counted.h"
#include "hetero/base/fnv.h"
#include "hetero/base/status.h"
#include "hetero/grid/module_grid.h"
#include "hetero/tensor/copy.h"
#include "hetero/trainer/exit_code.h"

namespace hetero {
namespace {

// `bytes` is used for what is not in the host's memory.
absl::StatusOr<uint64_t> DigestOf(const TensorView& value, std::vector<char>& bytes,
                                  Stream& stream) {
  const auto num_bytes = static_cast<size_t>(value.num_bytes());
  if (!stream.device().IsCuda()) {
    return Fnv1a({static_cast<const char*>(value.address()), num_bytes});
  }
  bytes.resize(num_bytes);
  const TensorView host(bytes.data(), value.dtype(), value.dims());
  HETERO_RETURN_IF_ERROR(CopyToHost(value, host, stream));
  HETERO_RETURN_IF_ERROR(stream.Synchronize());
  return Fnv1a({bytes.data(), num_bytes});
}

std::string RanksText(const std::vector<int64_t>& ranks) {
  return absl::StrCat(ranks.size() == 1 ? "rank " : "ranks ", absl::StrJoin(ranks, ", "));
}

}  // namespace

absl::Status JudgeReplicas(int64_t step, std::string_view stage, std::span<const std::string> names,
                           const Group& ranks, std::span<const std::vector<uint64_t>> digests) {
  int64_t num_others = -1;
  std::string first;
  for (size_t i = 0; i < names.size(); ++i) {
    std::map<uint64_t, int64_t> votes;
    for (const std::vector<uint64_t>& of_rank : digests) ++votes[of_rank[i]];
    if (votes.size() == 1) continue;
    if (++num_others > 0) continue;
    // The first of the most frequent digests.
    const auto most = std::ranges::max_element(
        digests, {}, [&](const std::vector<uint64_t>& of_rank) { return votes[of_rank[i]]; });
    std::vector<int64_t> same;
    std::vector<int64_t> differing;
    for (size_t r = 0; r < ranks.size(); ++r) {
      (digests[r][i] == (*most)[i] ? same : differing).push_back(ranks[r].value());
    }
    first = absl::StrCat(names[i], " of ", stage, " on ", RanksText(differing),
                         " is not to the bit what it is on ", RanksText(same));
  }
  if (num_others < 0) return absl::OkStatus();
  const std::string others =
      num_others == 0 ? "" : absl::StrCat(", and so for ", Counted(num_others, "other tensor"));
  return WithExitCode(
      absl::DataLossError(absl::StrCat(
          "data-parallel ranks hold different weights after step ", step, ": ", first, others,
          "; a machine may be at fault, and checkpoints since the last comparison may have it")),
      ExitCode::kCommunication);
}

absl::StatusOr<std::unique_ptr<ReplicaCheck>> ReplicaCheck::Create(
    std::span<const Engine::OwnStage> stages, GlobalRank rank, CommunicatorFactory& factory) {
  auto check = std::make_unique<ReplicaCheck>();
  for (const Engine::OwnStage& own : stages) {
    for (const bool of_experts : {false, true}) {
      std::optional<Group> ranks =
          own.grid->GroupOf(of_experts ? Family::kExptDp : Family::kDpCp, rank);
      if (!ranks.has_value() || ranks->size() < 2) continue;
      Replicas replicas{.stage = own.name, .ranks = *std::move(ranks)};
      for (const std::unique_ptr<Parameter>& parameter : own.parameters->parameters()) {
        if ((parameter->spec->gradient_group == GradientGroup::kExpert) != of_experts) continue;
        replicas.parameters.push_back(parameter.get());
      }
      if (replicas.parameters.empty()) continue;
      const std::string_view group = of_experts ? "experts" : "dense";
      HETERO_ASSIGN_OR_RETURN(
          replicas.communicator,
          factory.Create({absl::StrCat("replicas.", own.name, ".", group), replicas.ranks},
                         {.on_host = true}));
      replicas.exchange = std::make_unique<Exchange>(replicas.communicator.get());
      check->replicas_.push_back(std::move(replicas));
    }
  }
  return check;
}

absl::Status ReplicaCheck::Compare(int64_t step, Stream& stream) {
  std::vector<char> bytes;
  for (const Replicas& replicas : replicas_) {
    std::vector<uint64_t> own;
    std::vector<std::string> names;
    for (const Parameter* parameter : replicas.parameters) {
      HETERO_ASSIGN_OR_RETURN(const uint64_t digest, DigestOf(parameter->value, bytes, stream));
      own.push_back(digest);
      names.push_back(parameter->spec->name);
    }
    const std::string_view mine(reinterpret_cast<const char*>(own.data()),
                                own.size() * sizeof(uint64_t));
    HETERO_ASSIGN_OR_RETURN(const std::vector<std::string> all,
                            replicas.exchange->AllGather(mine, "replicas"));
    std::vector<std::vector<uint64_t>> digests;
    for (const std::string& theirs : all) {
      std::memcpy(digests.emplace_back(own.size()).data(), theirs.data(), mine.size());
    }
    HETERO_RETURN_IF_ERROR(JudgeReplicas(step, replicas.stage, names, replicas.ranks, digests));
  }
  return absl::OkStatus();
}

}  // namespace hetero
