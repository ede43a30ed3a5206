#include "hetero/models/testing/whole_tensors.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

double NormOf(std::span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += value * value;
  return std::sqrt(sum);
}

bool IsDividedOver(const ParameterSpec& spec, ShardAxis axis) {
  return std::ranges::any_of(spec.dims, [&](const DimSharding& dim) { return dim.axis == axis; });
}

// Whether ranks that hold the same elements have parts of their gradient. Else all of a lane have
// the same one.
bool HasParts(const ParameterSpec& spec) {
  return spec.gradient_group == GradientGroup::kExpert || spec.partial_over_tp ||
         IsDividedOver(spec, ShardAxis::kTp);
}

// Calls `visit(logical index, local index)` for every element of a box.
template <typename Visit>
void VisitBox(const ShardBox& box, std::span<const int64_t> logical_shape,
              std::span<const int64_t> local_shape, Visit visit) {
  const size_t rank = logical_shape.size();
  const int64_t count =
      std::accumulate(box.extent.begin(), box.extent.end(), int64_t{1}, std::multiplies<>());
  for (int64_t i = 0; i < count; ++i) {
    int64_t rest = i, logical = 0, local = 0, logical_stride = 1, local_stride = 1;
    for (size_t d = rank; d-- > 0;) {
      const int64_t at = rest % box.extent[d];
      rest /= box.extent[d];
      logical += (box.logical_begin[d] + at) * logical_stride;
      local += (box.local_begin[d] + at) * local_stride;
      logical_stride *= logical_shape[d];
      local_stride *= local_shape[d];
    }
    visit(logical, local);
  }
}

}  // namespace

void ExpectClose(const std::string& what, std::span<const double> actual,
                 std::span<const double> expected, double tolerance) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  std::vector<double> difference(actual.begin(), actual.end());
  for (size_t i = 0; i < difference.size(); ++i) difference[i] -= expected[i];
  const double distance = NormOf(difference), norm = NormOf(expected);
  // Written so that NaN fails.
  if (!(distance <= tolerance * norm)) {
    ADD_FAILURE() << what << " is off by " << distance << " of its norm " << norm << ", allowed "
                  << tolerance << " of it";
  }
}

void WholeTensors::Add(const Kept& kept, const ShardSpec& place) {
  switch (kept.kind) {
    case Kept::Kind::kRows:
    case Kept::Kind::kGradientRows:
      return AddRows(kept);
    case Kept::Kind::kSame:
      return AddSame(kept);
    case Kept::Kind::kPart:
      return AddPart(kept.name, kept.values);
    case Kept::Kind::kParameter:
      return AddGradient(kept, place);
  }
}

std::map<std::string, std::vector<double>> WholeTensors::Take() {
  for (auto& [key, values] : replicated_) AddPart(key.first, values);
  return std::move(tensors_);
}

void WholeTensors::AddRows(const Kept& kept) {
  const int64_t rows = kept.shard.rows();
  const int64_t columns = rows == 0 ? 0 : std::ssize(kept.values) / rows;
  std::vector<double>& all = tensors_[absl::StrCat(kept.name, " of lane ", kept.lane)];
  all.resize(kept.shard.num_tokens * columns, std::numeric_limits<double>::quiet_NaN());
  const int64_t owned = kept.shard.num_owned() * columns;
  std::copy_n(kept.values.begin(), owned, all.begin() + kept.shard.begin() * columns);
  for (int64_t i = owned; i < std::ssize(kept.values); ++i) {
    const bool fine =
        kept.kind == Kept::Kind::kRows ? std::isfinite(kept.values[i]) : kept.values[i] == 0;
    if (fine) continue;
    ADD_FAILURE() << kept.name << " of lane " << kept.lane << ", rank " << kept.shard.rank
                  << ", has " << kept.values[i] << " in its padding";
    return;
  }
}

void WholeTensors::AddSame(const Kept& kept) {
  const std::string name = absl::StrCat(kept.name, " of lane ", kept.lane);
  const auto [at, added] = tensors_.emplace(name, kept.values);
  if (!added) ExpectClose(name + " on another rank", kept.values, at->second, tolerance_);
}

void WholeTensors::AddPart(const std::string& name, const std::vector<double>& values) {
  std::vector<double>& sum = tensors_[name];
  sum.resize(values.size());
  for (size_t i = 0; i < values.size(); ++i) sum[i] += values[i];
}

void WholeTensors::AddGradient(const Kept& kept, const ShardSpec& place) {
  const hetero::Shard shard = ShardOf(kept.spec, place).value();
  std::vector<double> all(kept.spec.num_elements());
  for (const ShardBox& box : shard.boxes) {
    VisitBox(box, kept.spec.shape, shard.shape,
             [&](int64_t logical, int64_t local) { all[logical] = kept.values[local]; });
  }
  if (HasParts(kept.spec)) return AddPart(kept.name, all);
  const auto [at, added] = replicated_.emplace(std::pair(kept.name, kept.lane), all);
  if (!added) ExpectClose(kept.name + " on another rank", all, at->second, tolerance_);
}

}  // namespace hetero
