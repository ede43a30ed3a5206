#include "hetero/trainer/team.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "hetero/base/status.h"
#include "hetero/comm/run_rank.h"
#include "hetero/comm/run_ranks.h"
#include "hetero/trainer/devices.h"

namespace hetero {

absl::Status Team::Agree(std::string_view what, const std::string& text) {
  if (is_one_process()) return absl::OkStatus();
  constexpr GlobalRank kFirst(0);
  const std::string key = absl::StrCat("agree on ", what);
  if (rendezvous_->rank() == kFirst) return rendezvous_->Put(key, text);
  HETERO_ASSIGN_OR_RETURN(const std::string first, rendezvous_->Get(key, kFirst));
  if (first == text) return absl::OkStatus();
  const std::vector<std::string> theirs = absl::StrSplit(first, '\n');
  const std::vector<std::string> ours = absl::StrSplit(text, '\n');
  const auto [their, our] = std::ranges::mismatch(theirs, ours);
  const auto line = [](auto at, auto end) { return at == end ? std::string("nothing") : *at; };
  return absl::InvalidArgumentError(absl::StrCat(
      "all processes of a run need the same ", what, "; rank 0 has '", line(their, theirs.end()),
      "', rank ", rendezvous_->rank(), " has '", line(our, ours.end()), "'"));
}

absl::Status Team::Differ(std::string_view what, const std::string& text, std::string_view rule) {
  if (is_one_process()) return absl::OkStatus();
  constexpr GlobalRank kFirst(0);
  const std::string own = absl::StrCat(what, " of each");
  const auto of = [&](GlobalRank rank) { return absl::StrCat(own, "/", rank.value()); };
  const std::string verdict = absl::StrCat(what, " differ");
  HETERO_RETURN_IF_ERROR(rendezvous_->Put(of(rendezvous_->rank()), text));
  std::string wrong;
  if (rendezvous_->rank() == kFirst) {
    std::map<std::string, int64_t> ranks;
    for (int64_t rank = 0; rank < world_size_ && wrong.empty(); ++rank) {
      HETERO_ASSIGN_OR_RETURN(const std::string theirs,
                              rendezvous_->Get(of(GlobalRank(rank)), GlobalRank(rank)));
      const auto [other, is_first] = ranks.insert({theirs, rank});
      if (is_first) continue;
      wrong = absl::StrCat("ranks ", other->second, " and ", rank, " have the same ", what, ", ",
                           theirs, "; ", rule);
    }
    HETERO_RETURN_IF_ERROR(rendezvous_->Put(verdict, wrong));
  } else {
    HETERO_ASSIGN_OR_RETURN(wrong, rendezvous_->Get(verdict, kFirst));
  }
  return wrong.empty() ? absl::OkStatus() : absl::InvalidArgumentError(wrong);
}

absl::StatusOr<std::string> Team::OfLogging(std::string_view what, const std::string& text) {
  if (is_one_process()) return text;
  if (!logs()) return rendezvous_->Get(what, logging_);
  HETERO_RETURN_IF_ERROR(rendezvous_->Put(what, text));
  return text;
}

absl::StatusOr<std::vector<std::string>> Team::ToLogging(std::string_view what,
                                                         std::vector<std::string> texts) {
  if (is_one_process()) return texts;
  const auto key = [&](int64_t rank) { return absl::StrCat(what, " of rank ", rank); };
  if (!logs()) {
    const int64_t self = rendezvous_->rank().value();
    HETERO_RETURN_IF_ERROR(rendezvous_->Put(key(self), texts[static_cast<size_t>(self)]));
    return std::vector<std::string>();
  }
  for (int64_t rank = 0; rank < world_size_; ++rank) {
    if (IsHere(GlobalRank(rank))) continue;
    HETERO_ASSIGN_OR_RETURN(texts[static_cast<size_t>(rank)],
                            rendezvous_->Get(key(rank), GlobalRank(rank)));
  }
  return texts;
}

absl::Status Team::Meet(std::string_view name) {
  if (is_one_process()) return absl::OkStatus();
  std::vector<GlobalRank> everybody;
  for (int64_t rank = 0; rank < world_size_; ++rank) everybody.emplace_back(rank);
  return rendezvous_->Barrier(name, everybody);
}

absl::StatusOr<absl::Duration> Team::ClockAhead() {
  if (is_one_process()) return absl::ZeroDuration();
  return rendezvous_->ClockAhead();
}

void Team::GotOn() {
  if (!is_one_process()) rendezvous_->GotOn();
}

absl::Status Team::Run(absl::FunctionRef<absl::Status(GlobalRank, CommunicatorFactory&)> function,
                       const Options& options) {
  if (is_one_process()) {
    return RunRanks(world_size_, function,
                    {.timeout = options.timeout,
                     .backend = ChooseBackend(options.devices),
                     .devices = options.devices,
                     .on_stuck = options.on_stuck});
  }
  RunRankOptions one{.device = options.devices[static_cast<size_t>(rendezvous_->rank().value())],
                     .timeout = options.timeout};
  if (options.on_stuck != nullptr) {
    one.on_stuck = [&](const absl::Status& failure) {
      const GlobalRank self = rendezvous_->rank();
      options.on_stuck(failure, std::span(&self, 1));
    };
  }
  return RunRank(*rendezvous_, function, one);
}

}  // namespace hetero
