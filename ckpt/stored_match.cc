#include "hetero/ckpt/stored_match.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <span>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "hetero/ckpt/format/key_style.h"

namespace hetero {
namespace {

using Parts = std::vector<std::string_view>;

}  // namespace

std::string MatchingKey(std::string_view key) {
  const std::string canonical = CanonicalKey(key);
  Parts parts = absl::StrSplit(canonical, '.');
  for (std::string_view& part : parts) {
    if (part == "fp32_param") part = "param";
  }
  return absl::StrJoin(parts, ".");
}

StoredFinder::StoredFinder(const CheckpointIndex& index) : index_(index) {
  for (const auto& [key, tensor] : index.tensors) by_canonical_.emplace(MatchingKey(key), key);
}

StoredMatch StoredFinder::Find(std::string_view key, const std::vector<int64_t>& shape) const {
  StoredMatch match;
  if (Add(key, match) || index_.origin == CheckpointOrigin::kSafetensors) return match;
  const std::string canonical = MatchingKey(key);
  if (AddCanonical(canonical, match) || AddRow(canonical, shape, match) ||
      AddRows(canonical, shape, match)) {
    return match;
  }
  return {};
}

bool StoredFinder::Add(std::string_view key, StoredMatch& match) const {
  const auto stored = index_.tensors.find(key);
  if (stored == index_.tensors.end()) return false;
  match.tensors.push_back(&stored->second);
  match.keys.push_back(stored->first);
  return true;
}

bool StoredFinder::AddCanonical(std::string_view canonical, StoredMatch& match) const {
  const auto key = by_canonical_.find(canonical);
  return key != by_canonical_.end() && Add(key->second, match);
}

// "layers.3.x" as row 3 of "layers.x".
bool StoredFinder::AddRow(std::string_view canonical, const std::vector<int64_t>& shape,
                          StoredMatch& match) const {
  const Parts parts = absl::StrSplit(canonical, '.');
  for (size_t i = 0; i < parts.size(); ++i) {
    int64_t row = 0;
    if (!absl::SimpleAtoi(parts[i], &row)) continue;
    Parts stacked = parts;
    stacked.erase(stacked.begin() + static_cast<std::ptrdiff_t>(i));
    if (!AddCanonical(absl::StrJoin(stacked, "."), match)) continue;
    const std::vector<int64_t>& all = match.tensors[0]->shape;
    if (row >= 0 && all.size() == shape.size() + 1 && row < all[0] &&
        std::equal(shape.begin(), shape.end(), all.begin() + 1)) {
      match.row = row;
      return true;
    }
    match = {};
  }
  return false;
}

// "layers.x" of "layers.0.x", "layers.1.x" and so on.
bool StoredFinder::AddRows(std::string_view canonical, const std::vector<int64_t>& shape,
                           StoredMatch& match) const {
  if (shape.empty()) return false;
  const Parts parts = absl::StrSplit(canonical, '.');
  for (size_t i = 1; i < parts.size(); ++i) {
    const std::string before = absl::StrJoin(parts.begin(), parts.begin() + i, ".");
    const std::string after = absl::StrJoin(parts.begin() + i, parts.end(), ".");
    for (int64_t row = 0; row < shape[0]; ++row) {
      if (!AddCanonical(absl::StrCat(before, ".", row, ".", after), match)) break;
      if (!std::ranges::equal(match.tensors.back()->shape, std::span(shape).subspan(1))) break;
    }
    if (std::ssize(match.tensors) == shape[0] && shape[0] > 0 &&
        std::ranges::equal(match.tensors.back()->shape, std::span(shape).subspan(1))) {
      match.per_row = true;
      return true;
    }
    match = {};
  }
  return false;
}

std::vector<ReadTarget> TargetsOf(const StoredMatch& match, const Box& box,
                                  const TensorView& local) {
  if (match.row.has_value()) {
    Box inside = box;
    inside.offset.insert(inside.offset.begin(), *match.row);
    inside.size.insert(inside.size.begin(), 1);
    return {{match.tensors[0], match.keys[0], std::move(inside), local}};
  }
  if (!match.per_row) return {{match.tensors[0], match.keys[0], box, local}};
  // Of several rows the first dim of more than one entry counts them.
  int dim = 0;
  while (box.size[0] > 1 && local.dim(dim) == 1) ++dim;
  std::vector<ReadTarget> targets;
  for (int64_t i = 0; i < box.size[0]; ++i) {
    const auto row = static_cast<size_t>(box.offset[0] + i);
    targets.push_back(
        {match.tensors[row], match.keys[row],
         Box{{box.offset.begin() + 1, box.offset.end()}, {box.size.begin() + 1, box.size.end()}},
         box.size[0] > 1 ? local.Slice(dim, i, 1) : local});
  }
  return targets;
}

}  // namespace hetero
