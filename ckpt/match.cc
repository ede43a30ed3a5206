#include "hetero/ckpt/match.h"

#include <algorithm>
#include <set>
#include <span>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "hetero/ckpt/format/element_type.h"
#include "hetero/ckpt/format/key_style.h"
#include "hetero/ckpt/nearest_keys.h"
#include "hetero/ckpt/plan/box.h"

namespace hetero {
namespace {

using Parts = std::vector<std::string_view>;

// Stored keys by their canonical form.
using ByCanonicalKey = std::map<std::string, std::string_view, std::less<>>;

class Finder {
 public:
  explicit Finder(const CheckpointIndex& index) : index_(index) {
    for (const auto& [key, tensor] : index.tensors) by_canonical_.emplace(MatchingKey(key), key);
  }

  // An empty match where there is none.
  StoredMatch Find(std::string_view key, const std::vector<int64_t>& shape) const {
    StoredMatch match;
    if (Add(key, match) || index_.origin == CheckpointOrigin::kSafetensors) return match;
    const std::string canonical = MatchingKey(key);
    if (AddCanonical(canonical, match) || AddRow(canonical, shape, match) ||
        AddRows(canonical, shape, match)) {
      return match;
    }
    return {};
  }

 private:
  bool Add(std::string_view key, StoredMatch& match) const {
    const auto stored = index_.tensors.find(key);
    if (stored == index_.tensors.end()) return false;
    match.tensors.push_back(&stored->second);
    match.keys.push_back(stored->first);
    return true;
  }

  bool AddCanonical(std::string_view canonical, StoredMatch& match) const {
    const auto key = by_canonical_.find(canonical);
    return key != by_canonical_.end() && Add(key->second, match);
  }

  // "layers.3.x" as row 3 of "layers.x".
  bool AddRow(std::string_view canonical, const std::vector<int64_t>& shape,
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
  bool AddRows(std::string_view canonical, const std::vector<int64_t>& shape,
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

  const CheckpointIndex& index_;
  ByCanonicalKey by_canonical_;
};

bool IsExtraState(std::string_view key) {
  const size_t dot = key.rfind('.');
  std::string_view last = dot == std::string_view::npos ? key : key.substr(dot + 1);
  last = last.substr(0, last.find('/'));
  return last == "_extra_state";
}

std::string RanksText(const std::vector<int64_t>& members) {
  if (members.size() <= 8) return absl::StrCat("ranks ", absl::StrJoin(members, ", "));
  return absl::StrCat("ranks ", members.front(), " to ", members.back(), ", ", members.size(),
                      " of them");
}

bool MayCast(std::optional<DType> from, DType to) {
  return (from == DType::kF32 && (to == DType::kBF16 || to == DType::kF64)) ||
         (from == DType::kBF16 && (to == DType::kF32 || to == DType::kF64));
}

// Whether the stored shape is the wanted one, or that of a vocabulary with rows of padding.
bool FitsShape(const IndexedTensor& stored, const WorldTensor& wanted, bool foreign) {
  if (stored.shape == wanted.shape) return true;
  return foreign && wanted.padded_rows && stored.shape.size() == wanted.shape.size() &&
         !stored.shape.empty() && stored.shape[0] > wanted.shape[0] &&
         std::equal(stored.shape.begin() + 1, stored.shape.end(), wanted.shape.begin() + 1);
}

// What differs between the wanted tensor and those that are stored; empty where nothing does.
std::string Unlike(std::string_view key, const WorldTensor& wanted, const StoredMatch& match,
                   bool foreign, const LoadOptions& options, std::vector<std::string>& cast) {
  if (!match.row.has_value() && !match.per_row && !FitsShape(*match.tensors[0], wanted, foreign)) {
    return absl::StrCat(key, " has shape ", ShapeText(match.tensors[0]->shape),
                        " in the checkpoint and ", ShapeText(wanted.shape), " in this model");
  }
  for (const IndexedTensor* stored : match.tensors) {
    if (stored->type == ElementTypeOf(wanted.dtype)) continue;
    const std::string types = absl::StrCat(Name(stored->type), " in the checkpoint and ",
                                           Name(wanted.dtype), " in this model");
    if (!MayCast(DTypeOf(stored->type), wanted.dtype)) return absl::StrCat(key, " is ", types);
    if (!options.cast) return absl::StrCat(key, " is ", types, "; casting has to be asked for");
    cast.push_back(absl::StrCat(key, ": ", Name(stored->type), " -> ", Name(wanted.dtype)));
    break;
  }
  return "";
}

// Of more names than these the nearest others are not looked for.
constexpr size_t kMaxWithNearest = 200;

// Adds `name`, `remark` and what of `others` may be meant.
void AddNamed(const std::string& name, std::string_view remark, std::string_view kind_of_others,
              const std::vector<std::string_view>& others, std::vector<Misfit>& misfits) {
  std::string text = absl::StrCat(name, remark);
  if (misfits.size() < kMaxWithNearest) {
    absl::StrAppend(&text, "; nearest ", kind_of_others, ": ",
                    absl::StrJoin(NearestKeys(name, others, 3), ", "));
  }
  misfits.push_back({.name = name, .text = std::move(text)});
}

std::string Lines(const std::vector<Misfit>& misfits) {
  std::string text;
  for (const Misfit& misfit : misfits) absl::StrAppend(&text, "\n  ", misfit.text);
  return text;
}

// Sorts absent names into those that may be so and those that may not.
class Absent {
 public:
  Absent(const LoadOptions& options, const std::vector<std::string_view>& stored)
      : options_(options), stored_(stored) {}

  void Add(const std::string& name, const std::vector<int64_t>& holders, MatchReport& report) {
    bool allowed = false;
    for (const std::string& pattern : options_.allow_missing) {
      if (!Fits(name, pattern)) continue;
      allowed = true;
      used_patterns_.insert(pattern);
    }
    const auto fits = [&](const std::string& pattern) { return Fits(name, pattern); };
    if (allowed || IsExtraState(name)) {
      report.kept.push_back(name);
    } else if (std::ranges::none_of(options_.optional, fits)) {
      AddNamed(name, absl::StrCat(" (", RanksText(holders), ")"), "stored", stored_,
               report.missing);
    }
  }

  std::vector<std::string> IdlePatterns() const {
    std::vector<std::string> idle;
    for (const std::string& pattern : options_.allow_missing) {
      if (!used_patterns_.contains(pattern)) idle.push_back(pattern);
    }
    return idle;
  }

 private:
  static bool Fits(const std::string& name, const std::string& pattern) {
    return MatchesPattern(name, pattern) || MatchesPattern(CanonicalKey(name), pattern);
  }

  const LoadOptions& options_;
  const std::vector<std::string_view>& stored_;
  std::set<std::string> used_patterns_;
};

// Those of `unused` that have to be wanted.
std::vector<Misfit> Unwanted(const std::vector<std::string>& unused, const WorldPlan& request,
                             const LoadOptions& options) {
  std::vector<Misfit> unwanted;
  if (!options.refuse_unused) return unwanted;
  std::vector<std::string_view> wanted;
  for (const auto& [key, tensor] : request.tensors) wanted.push_back(key);
  for (const auto& [name, holders] : request.objects) wanted.push_back(name);
  for (const std::string& name : unused) {
    const auto fits = [&](const std::string& pattern) { return MatchesPattern(name, pattern); };
    if (std::ranges::any_of(options.may_be_unused, fits)) continue;
    AddNamed(name, "", "wanted", wanted, unwanted);
  }
  return unwanted;
}

std::vector<int64_t> HoldersOf(const WorldTensor& tensor) {
  std::set<int64_t> holders;
  for (const WorldShard& shard : tensor.shards) {
    holders.insert(shard.holders.begin(), shard.holders.end());
  }
  return {holders.begin(), holders.end()};
}

}  // namespace

std::string MatchingKey(std::string_view key) {
  const std::string canonical = CanonicalKey(key);
  Parts parts = absl::StrSplit(canonical, '.');
  for (std::string_view& part : parts) {
    if (part == "fp32_param") part = "param";
  }
  return absl::StrJoin(parts, ".");
}

bool MatchesPattern(std::string_view text, std::string_view pattern) {
  size_t t = 0, p = 0;
  size_t star = std::string_view::npos, star_text = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      star_text = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++t;
      ++p;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++star_text;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
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

MatchReport MatchRequest(const CheckpointIndex& index, const WorldPlan& request,
                         const LoadOptions& options) {
  std::vector<std::string_view> stored;
  for (const auto& [key, tensor] : index.tensors) stored.push_back(key);
  for (const auto& [name, object] : index.objects) stored.push_back(name);
  const Finder finder(index);
  MatchReport report;
  Absent absent(options, stored);
  std::set<std::string_view> used;
  for (const auto& [key, wanted] : request.tensors) {
    StoredMatch match = finder.Find(key, wanted.shape);
    if (match.tensors.empty()) {
      absent.Add(key, HoldersOf(wanted), report);
      continue;
    }
    std::string unlike = Unlike(key, wanted, match, index.foreign(), options, report.cast);
    if (!unlike.empty()) report.unlike.push_back({.name = key, .text = std::move(unlike)});
    used.insert(match.keys.begin(), match.keys.end());
    report.tensors.emplace(key, std::move(match));
  }
  for (const auto& [name, holders] : request.objects) {
    const auto object = index.objects.find(name);
    if (object == index.objects.end()) {
      absent.Add(name, holders, report);
      continue;
    }
    used.insert(object->first);
    report.objects.emplace(name, &object->second);
  }
  for (const std::string_view key : stored) {
    if (!used.contains(key)) report.unused.emplace_back(key);
  }
  report.unwanted = Unwanted(report.unused, request, options);
  report.idle_patterns = absent.IdlePatterns();
  return report;
}

absl::Status MatchReport::Refusal() const {
  std::vector<std::string> errors;
  if (!missing.empty()) {
    errors.push_back(absl::StrCat("the checkpoint lacks ", missing.size(),
                                  " of the keys that are wanted:", Lines(missing)));
  }
  for (const Misfit& misfit : unlike) errors.push_back(misfit.text);
  if (!unwanted.empty()) {
    errors.push_back(absl::StrCat("nobody wants of the checkpoint:", Lines(unwanted)));
  }
  if (errors.empty()) {
    for (const std::string& pattern : idle_patterns) {
      errors.push_back(absl::StrCat("\"", pattern,
                                    "\" allows absent keys, but of those that are wanted none that "
                                    "it matches is absent from the checkpoint"));
    }
  }
  if (errors.empty()) return absl::OkStatus();
  const std::string text = absl::StrJoin(errors, "\n");
  return missing.empty() ? absl::InvalidArgumentError(text) : absl::NotFoundError(text);
}

}  // namespace hetero
