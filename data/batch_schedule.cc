#include "hetero/data/batch_schedule.h"

#include <algorithm>
#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/rounding.h"

namespace hetero::data {
namespace {

absl::Status Check(std::span<const BatchSchedule::Entry> entries) {
  if (entries.empty() || entries.front().from_sample != 0) {
    return absl::InvalidArgumentError("a batch schedule must begin at sample 0");
  }
  for (size_t i = 0; i < entries.size(); ++i) {
    const BatchSchedule::Entry& entry = entries[i];
    if (entry.batch_size < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("a batch size is ", entry.batch_size, ", must be at least 1; nearest: 1"));
    }
    if (i == 0) continue;
    const BatchSchedule::Entry& before = entries[i - 1];
    if (entry.from_sample <= before.from_sample) {
      return absl::InvalidArgumentError(
          absl::StrCat("batch size ", entry.batch_size, " is from sample ", entry.from_sample,
                       ", must be from after sample ", before.from_sample,
                       ", where the one before it begins; nearest: ", before.from_sample + 1));
    }
    if (entry.batch_size < before.batch_size) {
      return absl::InvalidArgumentError(
          absl::StrCat("batch size ", entry.batch_size, " follows ", before.batch_size,
                       ", must not be smaller; nearest: ", before.batch_size));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<BatchSchedule> BatchSchedule::Make(std::span<const Entry> entries) {
  if (absl::Status status = Check(entries); !status.ok()) return status;
  std::vector<Phase> phases = {{.batch_size = entries.front().batch_size}};
  for (size_t i = 1; i < entries.size(); ++i) {
    const Phase& last = phases.back();
    const int64_t steps =
        CeilDiv(std::max<int64_t>(entries[i].from_sample - last.first_sample, 0), last.batch_size);
    const Phase next = {.first_step = last.first_step + steps,
                        .first_sample = last.first_sample + steps * last.batch_size,
                        .batch_size = entries[i].batch_size};
    // A step may pass the beginnings of several entries, of which the last counts.
    if (next.first_step == last.first_step) phases.pop_back();
    if (!phases.empty() && phases.back().batch_size == next.batch_size) continue;
    phases.push_back(next);
  }
  return BatchSchedule(std::move(phases));
}

const BatchSchedule::Phase& BatchSchedule::PhaseOf(int64_t step) const {
  return *(std::ranges::upper_bound(phases_, step, {}, &Phase::first_step) - 1);
}

int64_t BatchSchedule::FirstSample(int64_t step) const {
  const Phase& phase = PhaseOf(step);
  return phase.first_sample + (step - phase.first_step) * phase.batch_size;
}

int64_t BatchSchedule::StepOf(int64_t sample) const {
  const Phase& phase = *(std::ranges::upper_bound(phases_, sample, {}, &Phase::first_sample) - 1);
  return phase.first_step + (sample - phase.first_sample) / phase.batch_size;
}

}  // namespace hetero::data
