#include "hetero/data/webdataset/exclusions.h"

#include <algorithm>

#include "hetero/base/status.h"
#include "hetero/data/webdataset/brace.h"

namespace hetero::data {

absl::StatusOr<Exclusions> Exclusions::Of(std::span<const std::string> patterns) {
  Exclusions exclusions;
  for (const std::string& pattern : patterns) {
    HETERO_ASSIGN_OR_RETURN(std::vector<std::string> names, ExpandBraces(pattern));
    for (const std::string& name : names) exclusions.found_[name] = false;
    exclusions.patterns_.emplace_back(pattern, std::move(names));
  }
  return exclusions;
}

bool Exclusions::Contains(const std::string& name) {
  const auto entry = found_.find(name);
  if (entry == found_.end()) return false;
  entry->second = true;
  return true;
}

std::vector<std::string> Exclusions::Found() const {
  std::vector<std::string> entries;
  for (const auto& [pattern, names] : patterns_) {
    const auto is_found = [&](const std::string& name) { return found_.at(name); };
    if (std::all_of(names.begin(), names.end(), is_found)) {
      entries.push_back(pattern);
    } else {
      std::copy_if(names.begin(), names.end(), std::back_inserter(entries), is_found);
    }
  }
  return entries;
}

std::vector<std::string> Exclusions::NotFound() const {
  std::vector<std::string> entries;
  for (const auto& [pattern, names] : patterns_) {
    std::copy_if(names.begin(), names.end(), std::back_inserter(entries),
                 [&](const std::string& name) { return !found_.at(name); });
  }
  return entries;
}

}  // namespace hetero::data
