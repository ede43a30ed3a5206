#include "hetero/trainer/report/waits.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "hetero/base/counted.h"

namespace hetero {
namespace {

// Of the time of steps: what is less is not worth a change of the layout.
constexpr double kLeastShare = 0.02;
constexpr double kLeastExcess = 0.05;

// The ranks of a module, or of several that share them.
struct Module {
  std::string name;
  int64_t num_ranks = 0;
  double busy_ms = 0;                   // of a step, mean
  std::map<std::string, double> share;  // by cause, mean
  double waited = 0;                    // the sum of these
  int64_t most_rank = 0;                // the one that waits most
  double most = 0;
};

// In the order of their first ranks.
std::vector<Module> ModulesOf(std::span<const RankWaits> ranks) {
  std::vector<Module> modules;
  for (size_t r = 0; r < ranks.size(); ++r) {
    const RankWaits& rank = ranks[r];
    auto module = std::ranges::find(modules, rank.module, &Module::name);
    if (module == modules.end()) module = modules.insert(modules.end(), {.name = rank.module});
    ++module->num_ranks;
    module->busy_ms +=
        absl::ToDoubleMilliseconds(rank.busy()) / static_cast<double>(rank.num_steps);
    for (const auto& [cause, time] : rank.waits) {
      module->share[cause] += absl::FDivDuration(time, rank.time);
    }
    const double waited = absl::FDivDuration(rank.waited(), rank.time);
    module->waited += waited;
    if (module->num_ranks == 1 || waited > module->most) {
      module->most = waited;
      module->most_rank = static_cast<int64_t>(r);
    }
  }
  for (Module& module : modules) {
    const auto count = static_cast<double>(module.num_ranks);
    module.busy_ms /= count;
    module.waited /= count;
    for (auto& [cause, share] : module.share) share /= count;
  }
  return modules;
}

std::string Percent(double share) { return absl::StrFormat("%.1f %%", 100 * share); }

struct Longest {
  std::string cause;
  double share = 0;
};

Longest LongestOf(const Module& module) {
  Longest longest;
  for (const auto& [cause, share] : module.share) {
    if (share > longest.share) longest = {cause, share};
  }
  return longest;
}

std::string Verdict(const std::vector<Module>& modules, std::string_view owner) {
  const Module& slow = *std::ranges::max_element(modules, {}, &Module::busy_ms);
  if (const Longest longest = LongestOf(slow); longest.share >= kLeastShare) {
    if (longest.cause == kData) {
      return absl::StrCat("data is too slow: the ranks of ", slow.name, " wait ",
                          Percent(longest.share), " of a step for it");
    }
    if (longest.cause == kCheckpoints) {
      return absl::StrCat("checkpoints hold the steps up: the ranks of ", slow.name, " wait ",
                          Percent(longest.share), " of their time for them");
    }
  }
  const Module* fast = nullptr;
  for (const Module& module : modules) {
    if (&module == &slow) continue;
    if (module.name == owner) {
      fast = &module;
      break;
    }
    if (fast == nullptr || module.busy_ms > fast->busy_ms) fast = &module;
  }
  if (fast != nullptr && fast->waited >= kLeastShare &&
      slow.busy_ms > (1 + kLeastExcess) * fast->busy_ms && fast->busy_ms > 0) {
    const double ratio = slow.busy_ms / fast->busy_ms;
    return absl::StrFormat(
        "the %s grid is %.0f %% too small: its ranks are busy %.1f ms of a step, those of %s %.1f "
        "ms, which wait %s; %s instead of %d would be as fast",
        slow.name, 100 * (ratio - 1), slow.busy_ms, fast->name, fast->busy_ms,
        Percent(fast->waited),
        Counted(static_cast<int64_t>(std::ceil(ratio * static_cast<double>(slow.num_ranks))),
                "rank"),
        slow.num_ranks);
  }
  const Module* most = nullptr;
  Longest longest;
  for (const Module& module : modules) {
    if (const Longest own = LongestOf(module); own.share > longest.share) {
      longest = own;
      most = &module;
    }
  }
  if (most == nullptr || longest.share < kLeastShare) return "nothing is waited for";
  return absl::StrCat("no grid is too small; the longest wait is that of ", most->name, " for ",
                      longest.cause, ", ", Percent(longest.share), " of a step");
}

}  // namespace

absl::Duration RankWaits::waited() const {
  absl::Duration sum;
  for (const auto& [cause, time] : waits) sum += time;
  return sum;
}

std::string DescribeWaits(std::span<const RankWaits> ranks, std::string_view owner) {
  const std::vector<Module> modules = ModulesOf(ranks);
  std::set<std::string> causes;
  for (const Module& module : modules) {
    for (const auto& [cause, share] : module.share) causes.insert(cause);
  }
  std::string text = absl::StrFormat("%-32s %9s", "waits of a step, %", "busy ms");
  for (const std::string& cause : causes) absl::StrAppendFormat(&text, " %14s", cause);
  absl::StrAppendFormat(&text, " %9s  %s", "all", "most");
  for (const Module& module : modules) {
    absl::StrAppendFormat(&text, "\n%-32s %9.3f",
                          absl::StrCat(module.name, ", ", Counted(module.num_ranks, "rank")),
                          module.busy_ms);
    for (const std::string& cause : causes) {
      const auto share = module.share.find(cause);
      absl::StrAppendFormat(&text, " %14.1f",
                            share == module.share.end() ? 0 : 100 * share->second);
    }
    absl::StrAppendFormat(&text, " %9.1f  %.1f of rank %d", 100 * module.waited, 100 * module.most,
                          module.most_rank);
  }
  return absl::StrCat(text, "\nverdict: ", Verdict(modules, owner));
}

}  // namespace hetero
