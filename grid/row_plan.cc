#include "hetero/grid/row_plan.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace hetero {

RowPlan Inverse(RowPlan plan) {
  std::swap(plan.sources, plan.destinations);
  for (RowTransfer& transfer : plan.transfers) {
    std::swap(transfer.source, transfer.destination);
    std::swap(transfer.source_row, transfer.destination_row);
  }
  return plan;
}

std::vector<RowTransfer> SendsOf(const RowPlan& plan, GlobalRank rank) {
  std::vector<RowTransfer> sends;
  for (const RowTransfer& transfer : plan.transfers) {
    if (transfer.source == rank && transfer.num_rows > 0) sends.push_back(transfer);
  }
  return sends;
}

std::vector<RowTransfer> ReceivesOf(const RowPlan& plan, GlobalRank rank) {
  std::vector<RowTransfer> receives;
  for (const RowTransfer& transfer : plan.transfers) {
    if (transfer.destination == rank && transfer.num_rows > 0) receives.push_back(transfer);
  }
  return receives;
}

const ReplicaSet* FindReplicaSet(std::span<const ReplicaSet> sets, GlobalRank rank) {
  const auto found = std::find_if(sets.begin(), sets.end(), [&](const ReplicaSet& set) {
    return RankIn(set.ranks, rank).has_value();
  });
  return found == sets.end() ? nullptr : &*found;
}

int64_t SourceRows(const RowPlan& plan, GlobalRank rank) {
  const ReplicaSet* set = FindReplicaSet(plan.sources, rank);
  return set == nullptr ? 0 : set->num_rows;
}

int64_t DestinationRows(const RowPlan& plan, GlobalRank rank) {
  const ReplicaSet* set = FindReplicaSet(plan.destinations, rank);
  return set == nullptr ? 0 : set->num_rows;
}

absl::Status CheckSourceRows(const RowPlan& plan, GlobalRank rank, int64_t actual_rows) {
  const int64_t expected = SourceRows(plan, rank);
  if (actual_rows == expected) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("rank ", rank, " has ", actual_rows,
                                                 " rows to send, its samples count ", expected));
}

}  // namespace hetero
