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
#include "hetero/base/status.h"
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

bool MayBeAbsent(std::string_view key) {
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

absl::Status CheckMatch(std::string_view key, const WorldTensor& wanted, const StoredMatch& match,
                        bool foreign, const LoadOptions& options, std::vector<std::string>& cast) {
  if (!match.row.has_value() && !match.per_row && !FitsShape(*match.tensors[0], wanted, foreign)) {
    return absl::InvalidArgumentError(
        absl::StrCat(key, " has shape ", ShapeText(match.tensors[0]->shape),
                     " in the checkpoint and ", ShapeText(wanted.shape), " in this model"));
  }
  for (const IndexedTensor* stored : match.tensors) {
    if (stored->type == ElementTypeOf(wanted.dtype)) continue;
    const std::string types = absl::StrCat(Name(stored->type), " in the checkpoint and ",
                                           Name(wanted.dtype), " in this model");
    if (!MayCast(DTypeOf(stored->type), wanted.dtype)) {
      return absl::InvalidArgumentError(absl::StrCat(key, " is ", types));
    }
    if (!options.cast) {
      return absl::InvalidArgumentError(
          absl::StrCat(key, " is ", types, "; casting has to be asked for"));
    }
    cast.push_back(absl::StrCat(key, ": ", Name(stored->type), " -> ", Name(wanted.dtype)));
    break;
  }
  return absl::OkStatus();
}

// Of more names than these the nearest others are not looked for.
constexpr size_t kMaxWithNearest = 200;

// A line for each of `names`, with `remarks` of them where there are any, and what of `others` may
// be meant.
std::string NamesText(const std::vector<std::string>& names,
                      const std::vector<std::string>& remarks, std::string_view kind_of_others,
                      const std::vector<std::string_view>& others) {
  std::string text;
  for (size_t i = 0; i < names.size(); ++i) {
    absl::StrAppend(&text, "\n  ", names[i]);
    if (!remarks.empty()) absl::StrAppend(&text, " (", remarks[i], ")");
    if (i >= kMaxWithNearest) continue;
    absl::StrAppend(&text, "; nearest ", kind_of_others, ": ",
                    absl::StrJoin(NearestKeys(names[i], others, 3), ", "));
  }
  return text;
}

// Sorts absent names into those that may be so and those that may not.
class Absent {
 public:
  explicit Absent(const LoadOptions& options) : options_(options) {}

  void Add(const std::string& name, const std::vector<int64_t>& holders) {
    bool allowed = false;
    for (const std::string& pattern : options_.allow_missing) {
      if (!MatchesPattern(name, pattern) && !MatchesPattern(CanonicalKey(name), pattern)) continue;
      allowed = true;
      used_patterns_.insert(pattern);
    }
    if (allowed || MayBeAbsent(name)) {
      kept_.push_back(name);
    } else {
      missing_.push_back(name);
      holders_.push_back(RanksText(holders));
    }
  }

  // A text for each name that may not be absent; empty without one.
  std::string Missing(const std::vector<std::string_view>& stored) const {
    if (missing_.empty()) return "";
    return absl::StrCat("the checkpoint lacks ", missing_.size(), " of the keys that are wanted:",
                        NamesText(missing_, holders_, "stored", stored));
  }

  absl::Status CheckPatterns() const {
    for (const std::string& pattern : options_.allow_missing) {
      if (used_patterns_.contains(pattern)) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("\"", pattern, "\" allows absent keys, but of those that are wanted none ",
                       "that it matches is absent from the checkpoint"));
    }
    return absl::OkStatus();
  }

  const std::vector<std::string>& kept() const { return kept_; }

 private:
  const LoadOptions& options_;
  std::vector<std::string> missing_;
  std::vector<std::string> holders_;  // parallel: who wants it
  std::vector<std::string> kept_;
  std::set<std::string> used_patterns_;
};

// A text for each name that nobody wants and that has to be wanted; empty without one.
std::string Unused(const std::vector<std::string>& unused, const WorldPlan& request,
                   const LoadOptions& options) {
  if (!options.refuse_unused) return "";
  std::vector<std::string> refused;
  for (const std::string& name : unused) {
    const auto fits = [&](const std::string& pattern) { return MatchesPattern(name, pattern); };
    if (std::ranges::none_of(options.may_be_unused, fits)) refused.push_back(name);
  }
  if (refused.empty()) return "";
  std::vector<std::string_view> wanted;
  for (const auto& [key, tensor] : request.tensors) wanted.push_back(key);
  for (const auto& [name, holders] : request.objects) wanted.push_back(name);
  return absl::StrCat("nobody wants of the checkpoint:", NamesText(refused, {}, "wanted", wanted));
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

absl::StatusOr<MatchReport> MatchRequest(const CheckpointIndex& index, const WorldPlan& request,
                                         const LoadOptions& options) {
  const Finder finder(index);
  MatchReport report;
  Absent absent(options);
  std::vector<std::string> errors;
  std::set<std::string_view> used;
  for (const auto& [key, wanted] : request.tensors) {
    StoredMatch match = finder.Find(key, wanted.shape);
    if (match.tensors.empty()) {
      absent.Add(key, HoldersOf(wanted));
      continue;
    }
    const absl::Status fits = CheckMatch(key, wanted, match, index.foreign(), options, report.cast);
    if (!fits.ok()) errors.emplace_back(fits.message());
    used.insert(match.keys.begin(), match.keys.end());
    report.tensors.emplace(key, std::move(match));
  }
  for (const auto& [name, holders] : request.objects) {
    const auto stored = index.objects.find(name);
    if (stored == index.objects.end()) {
      absent.Add(name, holders);
      continue;
    }
    used.insert(stored->first);
    report.objects.emplace(name, &stored->second);
  }
  std::vector<std::string_view> stored;
  for (const auto& [key, tensor] : index.tensors) stored.push_back(key);
  for (const auto& [name, object] : index.objects) stored.push_back(name);
  for (const std::string_view key : stored) {
    if (!used.contains(key)) report.unused.emplace_back(key);
  }
  const std::string missing = absent.Missing(stored);
  if (!missing.empty()) errors.insert(errors.begin(), missing);
  if (std::string unused = Unused(report.unused, request, options); !unused.empty()) {
    errors.push_back(std::move(unused));
  }
  if (!errors.empty()) {
    const std::string text = absl::StrJoin(errors, "\n");
    return missing.empty() ? absl::InvalidArgumentError(text) : absl::NotFoundError(text);
  }
  HETERO_RETURN_IF_ERROR(absent.CheckPatterns());
  report.kept = absent.kept();
  return report;
}

}  // namespace hetero
