#include "hetero/ckpt/plan/world_plan.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <tuple>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "hetero/base/fnv.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/plan/box.h"
#include "hetero/ckpt/plan/coverage.h"
#include "nlohmann/json.hpp"

namespace hetero {
namespace {

using Json = nlohmann::json;
using Shape = std::vector<int64_t>;

std::string RankText(int64_t member) { return absl::StrCat("rank ", member); }

// Of shards by box: pieces of one key.
using Shards = std::map<Box, WorldShard>;

absl::Status AddPieces(const std::string& key, const Json& entry, int64_t member,
                       std::map<std::string, int64_t>& first_members, WorldPlan& plan,
                       std::map<std::string, Shards>& shards) {
  const auto dtype = static_cast<DType>(entry[1].get<int>());
  const auto shape = entry[2].get<Shape>();
  const auto [place, is_first] = first_members.emplace(key, member);
  WorldTensor& tensor = plan.tensors[key];
  if (is_first) {
    tensor.dtype = dtype;
    tensor.shape = shape;
    tensor.padded_rows = entry[3].get<bool>();
  }
  if (tensor.dtype != dtype || tensor.shape != shape) {
    return absl::InvalidArgumentError(absl::StrCat(
        key, " is ", Name(tensor.dtype), ShapeText(tensor.shape), " on ", RankText(place->second),
        " and ", Name(dtype), ShapeText(shape), " on ", RankText(member)));
  }
  for (const Json& piece : entry[4]) {
    Box box{.offset = piece[0].get<Shape>(), .size = piece[1].get<Shape>()};
    if (!IsInside(box, shape)) {
      return absl::InvalidArgumentError(absl::StrCat("out of bounds: ", ToString(box), " of ", key,
                                                     " by ", RankText(member), ", whose shape is ",
                                                     ShapeText(shape)));
    }
    WorldShard& shard = shards[key][box];
    shard.bytes = NumElements(box) * SizeOf(dtype);
    shard.box = std::move(box);
    if (shard.holders.empty() || shard.holders.back() != member) shard.holders.push_back(member);
    if (piece[2].get<bool>()) shard.mains.push_back(member);
  }
  return absl::OkStatus();
}

absl::Status CheckTensor(const std::string& key, const WorldTensor& tensor) {
  std::vector<CoveringBox> boxes;
  for (const WorldShard& shard : tensor.shards) {
    for (const int64_t main : shard.mains) boxes.push_back({shard.box, RankText(main)});
  }
  return CheckCoverage(key, tensor.shape, boxes);
}

// Of "key/shard_0.1_2.2" the part before the shard's number, and how many there must be.
struct ShardedName {
  std::string key;
  int64_t count = 1;
};

std::optional<ShardedName> ParseObjectName(std::string_view name) {
  const size_t slash = name.find("/shard_");
  const size_t last = name.rfind('_');
  if (slash == std::string_view::npos || last < slash + 7) return std::nullopt;
  ShardedName parsed{.key = std::string(name.substr(0, slash))};
  for (const std::string_view size : absl::StrSplit(name.substr(last + 1), '.')) {
    int64_t value = 0;
    if (!absl::SimpleAtoi(size, &value) || value < 1 || value > 1 << 20) return std::nullopt;
    parsed.count *= value;
  }
  return parsed;
}

// Objects of one key are as many as their names say.
absl::Status CheckObjects(const WorldPlan& plan) {
  std::map<std::string, std::pair<int64_t, int64_t>> counts;  // written, due
  for (const auto& [name, holders] : plan.objects) {
    const std::optional<ShardedName> parsed = ParseObjectName(name);
    if (!parsed.has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat("object ", name, ": the name does not end as \"/shard_0.1_2.2\""));
    }
    auto& [written, due] = counts[parsed->key];
    written += plan.writers.contains(name) ? 1 : 0;
    if (due != 0 && due != parsed->count) {
      return absl::InvalidArgumentError(absl::StrCat("object ", parsed->key, " has ", due, " and ",
                                                     parsed->count, " shards by its names"));
    }
    due = parsed->count;
  }
  for (const auto& [key, count] : counts) {
    if (count.first != count.second) {
      return absl::InvalidArgumentError(absl::StrCat("not covered: of ", count.second,
                                                     " shards of object ", key, " ", count.first,
                                                     " are written"));
    }
  }
  return absl::OkStatus();
}

absl::Status AddDescription(const Json& state, int64_t member, Distribution kind,
                            std::map<std::string, int64_t>& first_members, WorldPlan& plan,
                            std::map<std::string, Shards>& shards) {
  for (const Json& entry : state[0]) {
    HETERO_RETURN_IF_ERROR(
        AddPieces(entry[0].get<std::string>(), entry, member, first_members, plan, shards));
  }
  for (const Json& object : state[1]) {
    const auto name = object[0].get<std::string>();
    plan.objects[name].push_back(member);
    if (!object[1].get<bool>()) continue;
    const auto [writer, is_first] = plan.writers.emplace(name, member);
    if (!is_first && kind == Distribution::kSave) {
      return absl::InvalidArgumentError(absl::StrCat("overlap: object ", name, " is written by ",
                                                     RankText(writer->second), " and ",
                                                     RankText(member)));
    }
  }
  return absl::OkStatus();
}

void SetOwners(int64_t num_members, Distribution kind, WorldPlan& plan) {
  std::vector<HeldBox> held;
  std::vector<WorldShard*> shards;
  for (auto& [key, tensor] : plan.tensors) {
    for (WorldShard& shard : tensor.shards) {
      held.push_back({.key = key,
                      .box = &shard.box,
                      .bytes = shard.bytes,
                      .holders = shard.holders,
                      .has_main = !shard.mains.empty()});
      shards.push_back(&shard);
    }
  }
  const std::vector<int64_t> owners = Distribute(held, num_members, kind);
  for (size_t i = 0; i < shards.size(); ++i) shards[i]->owner = owners[i];
}

// CBOR (RFC 8949) as it is written, without a tree: every save describes the state, also where
// nothing has changed.
class CborWriter {
 public:
  void Array(size_t count) { Head(4, count); }
  void Bool(bool value) { bytes_.push_back(static_cast<char>(value ? 0xf5 : 0xf4)); }
  void Int(int64_t value) {
    value < 0 ? Head(1, static_cast<uint64_t>(-(value + 1)))
              : Head(0, static_cast<uint64_t>(value));
  }
  void Ints(const std::vector<int64_t>& values) {
    Array(values.size());
    for (const int64_t value : values) Int(value);
  }
  void Text(std::string_view text) {
    Head(3, text.size());
    bytes_.append(text);
  }
  std::string Take() && { return std::move(bytes_); }

 private:
  // A major type, and a number in as few bytes as hold it.
  void Head(int major, uint64_t number) {
    const auto put = [&](int low, int num_bytes) {
      bytes_.push_back(static_cast<char>(major << 5 | low));
      for (int i = num_bytes; i-- > 0;) bytes_.push_back(static_cast<char>(number >> (8 * i)));
    };
    if (number < 24) return put(static_cast<int>(number), 0);
    if (number <= 0xff) return put(24, 1);
    if (number <= 0xffff) return put(25, 2);
    if (number <= 0xffffffff) return put(26, 4);
    put(27, 8);
  }

  std::string bytes_;
};

}  // namespace

std::string DescribeState(const CheckpointState& state) {
  // Of one key that comes twice with another type or shape, a second entry tells.
  std::vector<const CheckpointTensor*> tensors;
  for (const CheckpointTensor& tensor : state.tensors) tensors.push_back(&tensor);
  const auto head = [](const CheckpointTensor* tensor) {
    return std::tie(tensor->key, tensor->dtype, tensor->shape);
  };
  std::ranges::stable_sort(tensors, {}, head);
  const auto end_of_entry = [&](size_t i) {
    size_t end = i + 1;
    while (end < tensors.size() && head(tensors[end]) == head(tensors[i])) ++end;
    return end;
  };
  size_t num_entries = 0;
  for (size_t i = 0; i < tensors.size(); i = end_of_entry(i)) ++num_entries;

  CborWriter writer;
  writer.Array(2);
  writer.Array(num_entries);
  for (size_t i = 0; i < tensors.size();) {
    const size_t end = end_of_entry(i);
    writer.Array(5);
    writer.Text(tensors[i]->key);
    writer.Int(static_cast<int>(tensors[i]->dtype));
    writer.Ints(tensors[i]->shape);
    writer.Bool(tensors[i]->padded_rows);
    size_t num_pieces = 0;
    for (size_t t = i; t < end; ++t) num_pieces += tensors[t]->pieces.size();
    writer.Array(num_pieces);
    for (; i < end; ++i) {
      for (const CheckpointTensor::Piece& piece : tensors[i]->pieces) {
        writer.Array(3);
        writer.Ints(piece.box.offset);
        writer.Ints(piece.box.size);
        writer.Bool(piece.main);
      }
    }
  }
  writer.Array(state.objects.size());
  for (const CheckpointObject& object : state.objects) {
    writer.Array(2);
    writer.Text(object.name);
    writer.Bool(object.main);
  }
  return std::move(writer).Take();
}

bool IsLike(const CheckpointState& a, const CheckpointState& b) {
  const auto piece = [](const CheckpointTensor::Piece& x, const CheckpointTensor::Piece& y) {
    return x.box == y.box && x.main == y.main && x.constant == y.constant;
  };
  const auto tensor = [&](const CheckpointTensor& x, const CheckpointTensor& y) {
    return x.key == y.key && x.dtype == y.dtype && x.shape == y.shape &&
           x.padded_rows == y.padded_rows && std::ranges::equal(x.pieces, y.pieces, piece);
  };
  const auto object = [](const CheckpointObject& x, const CheckpointObject& y) {
    return x.name == y.name && x.main == y.main;
  };
  return std::ranges::equal(a.tensors, b.tensors, tensor) &&
         std::ranges::equal(a.objects, b.objects, object);
}

uint64_t WorldPlan::Hash() const {
  uint64_t hash = kFnvOffsetBasis;
  for (const auto& [key, tensor] : tensors) {
    hash = Fnv1a(absl::StrCat(key, Name(tensor.dtype), ShapeText(tensor.shape)), hash);
    for (const WorldShard& shard : tensor.shards) {
      hash = Fnv1a(absl::StrCat(ToString(shard.box), " ", shard.owner), hash);
    }
  }
  for (const auto& [name, writer] : writers) hash = Fnv1a(absl::StrCat(name, " ", writer), hash);
  return hash;
}

absl::StatusOr<WorldPlan> MakeWorldPlan(std::span<const std::string> descriptions,
                                        Distribution kind) {
  WorldPlan plan;
  std::map<std::string, int64_t> first_members;
  std::map<std::string, Shards> shards;
  for (size_t member = 0; member < descriptions.size(); ++member) {
    const Json state = Json::from_cbor(descriptions[member], true, /*allow_exceptions=*/false);
    if (!state.is_array() || state.size() != 2) {
      return absl::DataLossError(absl::StrCat("the description of the state of ",
                                              RankText(static_cast<int64_t>(member)),
                                              " did not arrive whole"));
    }
    HETERO_RETURN_IF_ERROR(
        AddDescription(state, static_cast<int64_t>(member), kind, first_members, plan, shards));
  }
  for (auto& [key, by_box] : shards) {
    for (auto& [box, shard] : by_box) plan.tensors[key].shards.push_back(std::move(shard));
  }
  if (kind == Distribution::kSave) {
    for (const auto& [key, tensor] : plan.tensors) HETERO_RETURN_IF_ERROR(CheckTensor(key, tensor));
    HETERO_RETURN_IF_ERROR(CheckObjects(plan));
  }
  SetOwners(static_cast<int64_t>(descriptions.size()), kind, plan);
  return plan;
}

}  // namespace hetero
