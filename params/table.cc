#include "hetero/params/table.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "hetero/base/status.h"

namespace hetero {
namespace {

// Their bytes, and those of all that is kept for each, still have a number.
constexpr int64_t kMaxElements = int64_t{1} << 48;

size_t CommonPrefix(std::string_view a, std::string_view b) {
  return std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
}

// Whether gradient sums and norms find out who shares the parameter.
absl::Status CheckSharing(const ParameterSpec& spec) {
  const bool dense = spec.gradient_group == GradientGroup::kDense;
  const std::string_view group = dense ? "a dense" : "an expert's";
  for (auto dim = spec.dims.begin(); dim != spec.dims.end(); ++dim) {
    if (dim->axis == ShardAxis::kNone) continue;
    if (dense != (dim->axis == ShardAxis::kTp)) {
      return absl::InvalidArgumentError(absl::StrCat(
          spec.name, " is ", group, " parameter and divided over ", ShardAxisName(dim->axis)));
    }
    if (std::any_of(dim + 1, spec.dims.end(),
                    [&](const DimSharding& other) { return other.axis == dim->axis; })) {
      return absl::InvalidArgumentError(
          absl::StrCat(spec.name, " has two dims divided over ", ShardAxisName(dim->axis)));
    }
    if (!dense && std::ranges::any_of(dim->blocks, &DimSharding::Block::whole)) {
      return absl::InvalidArgumentError(
          absl::StrCat(spec.name, " is an expert's parameter with a whole block"));
    }
  }
  if (!dense && spec.partial_over_tp) {
    return absl::InvalidArgumentError(
        absl::StrCat(spec.name, " is an expert's parameter and partial over tp"));
  }
  return absl::OkStatus();
}

}  // namespace

ParameterTable::ParameterTable(std::vector<ParameterSpec> specs) : specs_(std::move(specs)) {
  for (size_t i = 0; i < specs_.size(); ++i) index_.emplace(specs_[i].name, i);
}

absl::StatusOr<ParameterTable> ParameterTable::Make(std::vector<ParameterSpec> specs) {
  int stage = 0, layer = 0;
  for (const ParameterSpec& spec : specs) {
    if (spec.stage == stage && spec.layer < layer) {
      return absl::InvalidArgumentError(absl::StrCat(spec.name, " is of layer ", spec.layer,
                                                     " and comes behind one of layer ", layer));
    }
    stage = spec.stage;
    layer = spec.layer;
    if (!spec.dims.empty() && spec.dims.size() != spec.shape.size()) {
      return absl::InvalidArgumentError(absl::StrCat(spec.name, " has ", spec.shape.size(),
                                                     " dims and sharding for ", spec.dims.size()));
    }
    HETERO_RETURN_IF_ERROR(CheckSharing(spec));
    for (const int64_t dim : spec.shape) {
      if (dim >= 0 && dim <= kMaxElements) continue;
      return absl::InvalidArgumentError(absl::StrCat(spec.name, " has a dim of ", dim,
                                                     ", must be 0 to ", kMaxElements,
                                                     "; nearest: ", dim < 0 ? 0 : kMaxElements));
    }
  }
  // As many doubles as there are parameters are exact enough to find what 64 bits do not hold.
  double elements = 0;
  for (const ParameterSpec& spec : specs) {
    double of_spec = 1;
    for (const int64_t dim : spec.shape) of_spec *= static_cast<double>(dim);
    elements += of_spec;
    if (elements <= kMaxElements) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("the parameters up to ", spec.name, " [", absl::StrJoin(spec.shape, ", "),
                     "] have ", elements, " elements, a table holds at most ", kMaxElements));
  }
  ParameterTable table(std::move(specs));
  if (table.index_.size() == table.specs_.size()) return table;
  for (size_t i = 0; i < table.specs_.size(); ++i) {
    if (table.index_.at(table.specs_[i].name) != i) {
      return absl::InvalidArgumentError(
          absl::StrCat("parameter ", table.specs_[i].name, " is registered twice"));
    }
  }
  return table;
}

absl::StatusOr<const ParameterSpec*> ParameterTable::Find(std::string_view name) const {
  const auto found = index_.find(name);
  if (found != index_.end()) return &specs_[found->second];
  const auto nearest = std::max_element(
      specs_.begin(), specs_.end(), [&](const ParameterSpec& a, const ParameterSpec& b) {
        return CommonPrefix(a.name, name) < CommonPrefix(b.name, name);
      });
  return absl::NotFoundError(absl::StrCat(
      "no parameter ", name,
      nearest == specs_.end() ? "; the table is empty" : "; nearest is " + nearest->name));
}

std::vector<std::string> ParameterTable::TrainedNames() const {
  std::vector<std::string> names;
  for (const ParameterSpec& spec : specs_) {
    if (spec.trainable && !spec.is_buffer) names.push_back(spec.name);
  }
  return names;
}

int64_t ParameterTable::num_parameters() const {
  int64_t count = 0;
  for (const ParameterSpec& spec : specs_) count += spec.is_buffer ? 0 : spec.num_elements();
  return count;
}

ParameterTable ParameterTable::Stage(int stage) const {
  std::vector<ParameterSpec> owned;
  std::copy_if(specs_.begin(), specs_.end(), std::back_inserter(owned),
               [&](const ParameterSpec& spec) { return spec.stage == stage; });
  return ParameterTable(std::move(owned));
}

}  // namespace hetero
