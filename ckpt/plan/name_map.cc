#include "hetero/ckpt/plan/name_map.h"

#include <algorithm>
#include <optional>
#include <tuple>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/plan/coverage.h"

namespace hetero {
namespace {

// Dims of more than one element.
std::vector<size_t> LongDims(std::span<const int64_t> size) {
  std::vector<size_t> dims;
  for (size_t d = 0; d < size.size(); ++d) {
    if (size[d] != 1) dims.push_back(d);
  }
  return dims;
}

absl::Status CheckSizes(const BoxMap& map) {
  const std::vector<size_t> own = LongDims(map.own.size), stored = LongDims(map.stored.size);
  const auto same = [&](size_t a, size_t b) { return map.own.size[a] == map.stored.size[b]; };
  if (map.own.offset.size() == map.own.size.size() && IsInside(map.stored, map.key_shape) &&
      std::ranges::equal(own, stored, same)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "name map: box ", ToString(map.own), " of ", map.name, " cannot be ", ToString(map.stored),
      " of ", map.key, ", whose shape is ", ShapeText(map.key_shape),
      "; sizes must be equal but for dims of 1, and inside"));
}

// Where `part` of map.own lies in the key.
Box StoredPart(const BoxMap& map, const Box& part) {
  Box stored = map.stored;
  const std::vector<size_t> own_dims = LongDims(map.own.size);
  const std::vector<size_t> stored_dims = LongDims(map.stored.size);
  for (size_t i = 0; i < own_dims.size(); ++i) {
    const size_t d = own_dims[i];
    stored.offset[stored_dims[i]] += part.offset[d] - map.own.offset[d];
    stored.size[stored_dims[i]] = part.size[d];
  }
  return stored;
}

// The elements of `part` in the local tensor of a state that has `box`.
TensorView LocalPart(const TensorView& local, const ShardBox& box, const Box& part) {
  TensorView view = local;
  for (size_t d = 0; d < part.size.size(); ++d) {
    view = view.Slice(static_cast<int>(d),
                      box.local_begin[d] + part.offset[d] - box.logical_begin[d], part.size[d]);
  }
  return view;
}

}  // namespace

absl::StatusOr<NameMap> NameMap::Create(std::vector<BoxMap> boxes) {
  NameMap map;
  map.boxes_ = std::move(boxes);
  std::ranges::sort(map.boxes_, [](const BoxMap& a, const BoxMap& b) {
    return std::tie(a.name, a.own) < std::tie(b.name, b.own);
  });
  std::map<std::string_view, std::pair<const BoxMap*, std::vector<CoveringBox>>> keys;
  for (size_t i = 0; i < map.boxes_.size(); ++i) {
    const BoxMap& box = map.boxes_[i];
    HETERO_RETURN_IF_ERROR(CheckSizes(box));
    auto& [first, covering] = keys[box.key];
    if (first == nullptr) first = &box;
    if (first->key_shape != box.key_shape || first->padded_rows != box.padded_rows) {
      return absl::InvalidArgumentError(
          absl::StrCat("name map: ", box.key, " has shape ", ShapeText(first->key_shape), " for ",
                       first->name, " and ", ShapeText(box.key_shape), " for ", box.name,
                       ", or rows of padding for one of them only"));
    }
    covering.push_back({.box = box.stored, .holder = box.name});
    Own& own = map.own_[box.name];
    if (own.end == 0) own = {.shape = std::vector<int64_t>(box.own.size.size()), .begin = i};
    own.end = i + 1;
    if (own.shape.size() != box.own.size.size()) {
      return absl::InvalidArgumentError(absl::StrCat("name map: boxes of ", box.name, " have ",
                                                     own.shape.size(), " and ", box.own.size.size(),
                                                     " dims"));
    }
    for (size_t d = 0; d < own.shape.size(); ++d) {
      own.shape[d] = std::max(own.shape[d], box.own.offset[d] + box.own.size[d]);
    }
  }
  for (const auto& [key, entry] : keys) {
    HETERO_RETURN_IF_ERROR(CheckCoverage(key, entry.first->key_shape, entry.second))
        .With("name map");
  }
  for (const auto& [name, own] : map.own_) {
    std::vector<CoveringBox> covering;
    for (size_t i = own.begin; i < own.end; ++i) {
      covering.push_back({.box = map.boxes_[i].own, .holder = map.boxes_[i].key});
    }
    HETERO_RETURN_IF_ERROR(CheckCoverage(name, own.shape, covering)).With("name map");
  }
  return map;
}

absl::StatusOr<std::vector<CheckpointTensor>> NameMap::Apply(std::span<const StateTensor> states,
                                                             std::string_view state_prefix,
                                                             std::string_view key_prefix) const {
  std::map<std::string, CheckpointTensor> tensors;
  std::vector<std::string> unknown;
  for (const StateTensor& state : states) {
    std::string_view name = state.name;
    const bool has_prefix = name.starts_with(state_prefix);
    if (has_prefix) name.remove_prefix(state_prefix.size());
    const auto own = has_prefix ? own_.find(name) : own_.end();
    if (own == own_.end()) {
      unknown.push_back(state.name);
      continue;
    }
    if (own->second.shape != state.shape) {
      return absl::InvalidArgumentError(
          absl::StrCat(state.name, " has shape ", ShapeText(state.shape), "; the name map is for ",
                       ShapeText(own->second.shape)));
    }
    for (const ShardBox& shard : state.boxes) {
      const Box held{.offset = shard.logical_begin, .size = shard.extent};
      for (size_t i = own->second.begin; i < own->second.end; ++i) {
        const BoxMap& map = boxes_[i];
        const std::optional<Box> part = Intersect(held, map.own);
        if (!part.has_value()) continue;
        CheckpointTensor& tensor = tensors[map.key];
        if (tensor.key.empty()) {
          tensor = {.key = absl::StrCat(key_prefix, map.key),
                    .dtype = state.local.dtype(),
                    .shape = map.key_shape,
                    .padded_rows = map.padded_rows};
        }
        if (tensor.dtype != state.local.dtype()) {
          return absl::InvalidArgumentError(
              absl::StrCat(tensor.key, ": ", state.name, " is ", Name(state.local.dtype()),
                           " and another part of it ", Name(tensor.dtype)));
        }
        tensor.pieces.push_back({.box = StoredPart(map, *part),
                                 .local = LocalPart(state.local, shard, *part),
                                 .main = state.replica == 0 && shard.replica == 0,
                                 .constant = state.constant});
      }
    }
  }
  if (!unknown.empty()) {
    return absl::NotFoundError(absl::StrCat(
        "the name map has nothing for ", absl::StrJoin(unknown, ", "),
        state_prefix.empty() ? "" : absl::StrCat(" (without \"", state_prefix, "\")")));
  }
  std::vector<CheckpointTensor> result;
  for (auto& [key, tensor] : tensors) result.push_back(std::move(tensor));
  return result;
}

}  // namespace hetero
