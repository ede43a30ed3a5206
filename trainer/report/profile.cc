#include "hetero/trainer/report/profile.h"

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "hetero/base/counted.h"
#include "hetero/tensor/stream.h"

namespace hetero {
namespace {

// Operations in descending order of `weight`.
template <typename Weight>
std::vector<std::pair<std::string_view, OperationTotals>> Sorted(const Operations& operations,
                                                                 Weight weight) {
  std::vector<std::pair<std::string_view, OperationTotals>> sorted(operations.begin(),
                                                                   operations.end());
  std::stable_sort(sorted.begin(), sorted.end(), [&](const auto& a, const auto& b) {
    return weight(a.second) > weight(b.second);
  });
  return sorted;
}

void Add(const OperationTotals& more, OperationTotals& totals) {
  totals.calls += more.calls;
  totals.flops += more.flops;
  totals.bytes += more.bytes;
  totals.time += more.time;
}

OperationTotals Negative(const OperationTotals& totals) {
  return {
      .calls = -totals.calls, .flops = -totals.flops, .bytes = -totals.bytes, .time = -totals.time};
}

}  // namespace

Operations OperationsOf(const CallLedger& calls) {
  return Operations(calls.operations().begin(), calls.operations().end());
}

Operations SumOf(std::span<const CallLedger> ledgers) {
  Operations sum;
  for (const CallLedger& ledger : ledgers) {
    for (const auto& [name, totals] : ledger.operations()) Add(totals, sum[name]);
  }
  return sum;
}

void TrainingAccount::Start(const CallLedger& calls) {
  before_ = OperationsOf(calls);
  start_ = absl::Now();
  thread_start_ = ThreadTime();
}

void TrainingAccount::Stop(const CallLedger& calls) {
  thread_time_ += ThreadTime() - thread_start_;
  time_ += absl::Now() - start_;
  for (const auto& [name, totals] : calls.operations()) {
    OperationTotals gained = totals;
    if (const auto before = before_.find(name); before != before_.end()) {
      Add(Negative(before->second), gained);
    }
    if (gained.calls > 0) Add(gained, operations_[name]);
  }
}

RankProfile TrainingAccount::Profile(int64_t num_steps) const {
  return {.num_steps = num_steps,
          .time = time_,
          .thread_time = thread_time_,
          .operations = operations_};
}

std::string DescribeProfile(std::span<const RankProfile> ranks) {
  Operations operations;
  Operations beside;
  absl::Duration all;
  absl::Duration waiting;
  absl::Duration inside;
  int64_t num_steps = 0;
  int64_t num_untimed = 0;
  for (const RankProfile& rank : ranks) {
    num_steps = std::max(num_steps, rank.num_steps);
    num_untimed += rank.num_untimed;
    all += rank.time;
    if (rank.thread_time.has_value()) waiting += rank.time - *rank.thread_time;
    for (const auto& [name, totals] : rank.operations) {
      Add(totals, operations[name]);
      inside += totals.time;
    }
    for (const auto& [name, totals] : rank.beside) Add(totals, beside[name]);
  }
  const bool sampled = !ranks[0].thread_time.has_value();
  if (num_steps == 0) {
    return absl::StrCat("profile: the run ended before a step was ", sampled ? "sampled" : "run");
  }
  const auto steps = static_cast<double>(num_steps);
  const auto row = [&](std::string_view name, absl::Duration time) {
    return absl::StrFormat("%-32s %9.3f %5.1f%%", name, absl::ToDoubleMilliseconds(time) / steps,
                           100 * absl::FDivDuration(time, all));
  };
  std::string text;
  if (sampled) absl::StrAppend(&text, "device time of ", Counted(num_steps, "sampled step"), "\n");
  const auto append_table = [&](std::string_view heading, const Operations& rows) {
    absl::StrAppendFormat(&text, "%-32s %9s %6s %9s %9s %9s\n", heading, "ms/step", "share",
                          "calls", "GFLOP/s", "GB/s");
    for (const auto& [name, totals] :
         Sorted(rows, [](const OperationTotals& totals) { return totals.time; })) {
      absl::StrAppend(&text, row(name, totals.time));
      absl::StrAppendFormat(&text, " %9.1f", static_cast<double>(totals.calls) / steps);
      if (totals.time > absl::ZeroDuration()) {
        const double seconds = absl::ToDoubleSeconds(totals.time);
        absl::StrAppendFormat(&text, " %9.1f %9.1f", totals.flops / seconds * 1e-9,
                              totals.bytes / seconds * 1e-9);
      }
      text += '\n';
    }
  };
  append_table("operation, all ranks", operations);
  absl::StrAppend(&text, row("outside operations", all - waiting - inside), "\n");
  if (!sampled) absl::StrAppend(&text, row("waiting", waiting), "\n");
  absl::StrAppend(&text, row("all ranks", all));
  if (!beside.empty()) {
    text += '\n';
    append_table("beside, all ranks", beside);
    text.pop_back();
  }
  if (num_untimed > 0) {
    absl::StrAppend(&text, "\n", Counted(num_untimed, "operation"),
                    " not timed: more were queued than there are events for");
  }
  return text;
}

}  // namespace hetero
