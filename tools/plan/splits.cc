#include "hetero/tools/plan/splits.h"

#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "hetero/base/status.h"
#include "hetero/base/violation.h"
#include "hetero/models/stage.h"
#include "hetero/params/counts.h"
#include "hetero/params/table.h"
#include "hetero/trainer/config/config.h"
#include "hetero/trainer/config/launch.h"

namespace hetero {
namespace {

// How one module divides its ranks.
struct Division {
  int64_t tp = 1;
  int64_t pp = 1;
  int64_t ep = 1;
};

std::vector<int64_t> Divisors(int64_t n) {
  std::vector<int64_t> divisors;
  for (int64_t d = 1; d <= n; ++d) {
    if (n % d == 0) divisors.push_back(d);
  }
  return divisors;
}

std::vector<Division> DivisionsOf(int64_t num_ranks, bool has_experts) {
  std::vector<Division> divisions;
  for (const int64_t tp : Divisors(num_ranks)) {
    for (const int64_t pp : Divisors(num_ranks / tp)) {
      const std::vector<int64_t> eps =
          has_experts ? Divisors(num_ranks / pp) : std::vector<int64_t>{1};
      for (const int64_t ep : eps) divisions.push_back({tp, pp, ep});
    }
  }
  return divisions;
}

absl::StatusOr<std::vector<bool>> HaveExperts(const proto::RunConfig& recipe,
                                              const ModelRegistry& models) {
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                          models.Make(recipe.model(), StorageOf(recipe)));
  std::vector<bool> have;
  for (const proto::GridSpec& grid : recipe.grids()) {
    HETERO_ASSIGN_OR_RETURN(const ParameterTable table, model->MakeTable(grid.name(), {}));
    have.push_back(CountParameters(table.specs()).experts > 0);
  }
  return have;
}

std::string NameOf(const proto::RunConfig& config) {
  return absl::StrJoin(config.grids(), ", ", [](std::string* out, const proto::GridSpec& grid) {
    const int64_t first = grid.rank_offset();
    absl::StrAppend(out, grid.name(), " ", first);
    if (grid.num_ranks() > 1) absl::StrAppend(out, "-", first + grid.num_ranks() - 1);
    const auto add = [&](const char* axis, int64_t size) {
      if (size > 1) absl::StrAppend(out, " ", axis, " ", size);
    };
    add("dp", grid.num_ranks() / (grid.tp() * grid.pp()));
    add("tp", grid.tp());
    add("pp", grid.pp());
    add("ep", grid.ep());
  });
}

class Enumeration {
 public:
  Enumeration(const proto::RunConfig& recipe, const ModelRegistry& models,
              std::vector<bool> have_experts)
      : models_(models), have_experts_(std::move(have_experts)), config_(recipe) {}

  // Divides grids from `grid` on, grid i having sizes[i] ranks.
  void Divide(const std::vector<int64_t>& sizes, bool apart, int grid, int64_t offset) {
    if (grid == config_.grids_size()) {
      Take();
      return;
    }
    for (const Division& division : DivisionsOf(sizes[grid], have_experts_[grid])) {
      proto::GridSpec& spec = *config_.mutable_grids(grid);
      const std::string name = spec.name();
      spec.Clear();
      spec.set_name(name);
      spec.set_num_ranks(sizes[grid]);
      spec.set_rank_offset(offset);
      spec.set_tp(division.tp);
      spec.set_pp(division.pp);
      if (have_experts_[grid]) spec.set_ep(division.ep);
      Divide(sizes, apart, grid + 1, apart ? offset + sizes[grid] : offset);
    }
  }

  // Gives each grid at least one of `left` ranks, from the one behind `sizes` on.
  void Share(int64_t left, std::vector<int64_t>& sizes) {
    const int64_t others = config_.grids_size() - std::ssize(sizes) - 1;
    if (others == 0) {
      sizes.push_back(left);
      Divide(sizes, /*apart=*/true, 0, 0);
      sizes.pop_back();
      return;
    }
    for (int64_t own = 1; own + others <= left; ++own) {
      sizes.push_back(own);
      Share(left - own, sizes);
      sizes.pop_back();
    }
  }

  std::vector<RecipeSplit> TakeSplits() { return std::move(splits_); }
  const std::string& refused() const { return refused_; }

 private:
  void Take() {
    proto::RunConfig config = config_;
    std::vector<Violation> violations = Validate(config, models_);
    if (!violations.empty() && config.pipeline_chunks() > 1) {
      config.set_pipeline_chunks(1);
      violations = Validate(config, models_);
    }
    if (violations.empty()) {
      splits_.push_back({.config = config, .name = NameOf(config)});
    } else {
      refused_ = violations.front().ToString();
    }
  }

  const ModelRegistry& models_;
  const std::vector<bool> have_experts_;
  proto::RunConfig config_;
  std::vector<RecipeSplit> splits_;
  std::string refused_;
};

}  // namespace

absl::StatusOr<std::vector<RecipeSplit>> LegalSplits(const proto::RunConfig& recipe,
                                                     int64_t num_ranks,
                                                     const ModelRegistry& models) {
  HETERO_ASSIGN_OR_RETURN(std::vector<bool> have_experts, HaveExperts(recipe, models));
  proto::RunConfig config = recipe;
  config.set_launch(
      absl::StrCat(AreProcesses(recipe.launch()) ? "processes:" : "threads:", num_ranks));
  Enumeration enumeration(config, models, std::move(have_experts));
  std::vector<int64_t> sizes;
  if (num_ranks >= config.grids_size()) enumeration.Share(num_ranks, sizes);
  if (config.grids_size() > 1) {
    sizes.assign(static_cast<size_t>(config.grids_size()), num_ranks);
    enumeration.Divide(sizes, /*apart=*/false, 0, 0);
  }
  std::vector<RecipeSplit> splits = enumeration.TakeSplits();
  if (!splits.empty()) return splits;
  return absl::InvalidArgumentError(
      absl::StrCat("no split of this recipe over ", num_ranks,
                   " ranks is legal; of the last one: ", enumeration.refused()));
}

}  // namespace hetero
