#include "hetero/trainer/report/timer_totals.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace hetero {
namespace {

constexpr int kFirstOfEnd = static_cast<int>(ProgramPart::kGradients);

}  // namespace

void TimerTotals::Add(const ProgramTimes& step) {
  for (size_t m = 0; m < sums_.size(); ++m) {
    for (int part = 0; part < kNumProgramParts; ++part) sums_[m][part] += step[m][part];
  }
  ++num_steps_;
}

std::vector<double> TimerTotals::Take() {
  const auto steps = static_cast<double>(std::max<int64_t>(num_steps_, 1));
  double forward_backward = 0;
  std::array<double, kNumProgramParts> of_rank = {};
  std::vector<double> by_module;
  for (auto& module : sums_) {
    for (int part = 0; part < kNumProgramParts; ++part) {
      const double seconds = absl::ToDoubleSeconds(module[part]) / steps;
      by_module.push_back(seconds);
      of_rank[part] += seconds;
      if (part < kFirstOfEnd) forward_backward += seconds;
    }
    module.fill(absl::ZeroDuration());
  }
  num_steps_ = 0;
  std::vector<double> values = {forward_backward};
  values.insert(values.end(), of_rank.begin(), of_rank.end());
  values.insert(values.end(), by_module.begin(), by_module.end());
  return values;
}

std::vector<NamedValue> TimerTotals::Named(std::span<const double> largest) const {
  std::vector<NamedValue> named = {{"forward-backward-time", largest[0]}};
  const auto tag = [](int part) {
    return absl::StrCat(Name(static_cast<ProgramPart>(part)), "-time");
  };
  size_t next = 1;
  for (int part = 0; part < kNumProgramParts; ++part) named.push_back({tag(part), largest[next++]});
  if (modules_.size() == 1) return named;
  for (const std::string& module : modules_) {
    for (int part = 0; part < kNumProgramParts; ++part) {
      const double seconds = largest[next++];
      if (seconds > 0) named.push_back({absl::StrCat(tag(part), " ", module), seconds});
    }
  }
  return named;
}

}  // namespace hetero
