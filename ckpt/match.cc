#include "hetero/ckpt/match.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "hetero/ckpt/format/element_type.h"
#include "hetero/ckpt/format/key_style.h"
#include "hetero/ckpt/name_pattern.h"
#include "hetero/ckpt/nearest_keys.h"
#include "hetero/ckpt/plan/box.h"

namespace hetero {
namespace {

bool IsExtraState(std::string_view key) {
  const size_t dot = key.rfind('.');
  std::string_view last = dot == std::string_view::npos ? key : key.substr(dot + 1);
  last = last.substr(0, last.find('/'));
  return last == "_extra_state";
}

// Of Megatron's distributed optimizer, by the place in a buffer and not by parameter.
bool IsInBucket(std::string_view key) { return key.find(".gbuf_idx_") != key.npos; }

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

MatchReport MatchRequest(const CheckpointIndex& index, const WorldPlan& request,
                         const LoadOptions& options) {
  std::vector<std::string_view> stored;
  for (const auto& [key, tensor] : index.tensors) stored.push_back(key);
  for (const auto& [name, object] : index.objects) stored.push_back(name);
  const StoredFinder finder(index);
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
    if (std::ranges::any_of(unused, IsInBucket)) {
      errors.emplace_back(
          "its optimizer state is dp_reshardable, that is, in buckets of the run that wrote it: "
          "convert it with tools/ckpt convert --buckets (ckpt/docs/buckets.md), or load the "
          "weights alone");
    }
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
