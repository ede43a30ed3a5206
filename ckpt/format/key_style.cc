#include "hetero/ckpt/format/key_style.h"

#include <cstddef>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace hetero {

absl::StatusOr<KeyStyle> KeyStyleNamed(std::string_view name) {
  for (const KeyStyle style : {KeyStyle::kMcore, KeyStyle::kCanonical}) {
    if (Name(style) == name) return style;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("key_style is ", name, ", must be mcore or canonical"));
}

std::string_view Name(KeyStyle style) { return style == KeyStyle::kMcore ? "mcore" : "canonical"; }

std::string CanonicalKey(std::string_view key) {
  std::vector<std::string_view> parts = absl::StrSplit(key, '.');
  // The last one is the tensor's own name.
  const std::string_view last = parts.back();
  parts.pop_back();
  std::erase(parts, "module");
  parts.push_back(last);
  return absl::StrJoin(parts, ".");
}

std::string StyledKey(std::string_view canonical_key, KeyStyle style) {
  if (style == KeyStyle::kCanonical) return std::string(canonical_key);
  const std::vector<std::string_view> parts = absl::StrSplit(canonical_key, '.');
  for (size_t i = 0; i < parts.size(); ++i) {
    const size_t wrapped = parts[i] == "language_model"        ? i + 1
                           : parts[i] == "modality_submodules" ? i + 2
                                                               : 0;
    if (wrapped == 0) continue;
    if (wrapped >= parts.size()) break;
    const auto inside = parts.begin() + static_cast<std::ptrdiff_t>(wrapped);
    return absl::StrCat(absl::StrJoin(parts.begin(), inside, "."), ".module.module.",
                        absl::StrJoin(inside, parts.end(), "."));
  }
  return std::string(canonical_key);
}

}  // namespace hetero
