#include "hetero/ckpt/storage/testing/crash_storage.h"

#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"

namespace hetero {
namespace {

using ::hetero::internal::DiskChange;
using ::hetero::internal::MemoryDisk;
using Kind = DiskChange::Kind;

bool ChangesBytes(const DiskChange& change) {
  return change.kind == Kind::kResize || change.kind == Kind::kWrite;
}

bool ChangesNames(const DiskChange& change) {
  return change.kind == Kind::kLink || change.kind == Kind::kUnlink ||
         change.kind == Kind::kRename || change.kind == Kind::kExchange;
}

std::string Describe(const DiskChange& change) {
  switch (change.kind) {
    case Kind::kLink:
      return absl::StrCat("+", change.name);
    case Kind::kUnlink:
      return absl::StrCat("-", change.name);
    case Kind::kRename:
      return absl::StrCat(change.name, ">", change.new_name);
    case Kind::kExchange:
      return absl::StrCat(change.name, "<>", change.new_name);
    default:
      return "";
  }
}

}  // namespace

void CrashStorage::Record(const DiskChange& change) { log_.push_back({.change = change}); }

void CrashStorage::Mark(std::string_view text) { log_.push_back({.mark = std::string(text)}); }

int64_t CrashStorage::ForEachCrash(int64_t limit, std::mt19937_64& generator,
                                   absl::FunctionRef<void(const Crash&)> look) const {
  int64_t looked = 0;
  std::vector<std::string> marks;
  for (size_t moment = 0; moment <= log_.size(); ++moment) {
    // What a crash leaves between two syncs, one leaves right before the second too.
    const bool last = moment == log_.size();
    const bool decides =
        last || !log_[moment].mark.empty() || log_[moment].change.kind == Kind::kSync;
    if (!last && !log_[moment].mark.empty()) marks.push_back(log_[moment].mark);
    if (!decides) continue;

    // Entries that may be missing: by file in order, and names one by one.
    std::map<int, std::vector<size_t>> bytes;
    std::vector<size_t> names;
    for (size_t i = 0; i < moment; ++i) {
      const DiskChange& change = log_[i].change;
      if (!log_[i].mark.empty()) continue;
      if (ChangesBytes(change)) bytes[change.node].push_back(i);
      if (ChangesNames(change)) names.push_back(i);
      if (change.kind == Kind::kSync) {
        bytes.erase(change.node);
        std::erase_if(names, [&](size_t at) { return log_[at].change.node == change.node; });
      }
    }

    // A choice: for each file how many of its entries stay, for each name whether it does.
    std::vector<size_t> choices;
    for (const auto& [node, entries] : bytes) choices.push_back(entries.size() + 1);
    choices.insert(choices.end(), names.size(), 2);
    double states = 1;
    for (const size_t count : choices) states *= static_cast<double>(count);
    const bool all = states <= static_cast<double>(limit);
    const int64_t count = all ? static_cast<int64_t>(states) : limit;
    for (int64_t state = 0; state < count; ++state) {
      std::vector<size_t> chosen;
      int64_t rest = state;
      for (const size_t options : choices) {
        if (all) {
          chosen.push_back(rest % options);
          rest /= options;
        } else {
          chosen.push_back(state == 0 ? 0 : state == 1 ? options - 1 : generator() % options);
        }
      }
      std::set<size_t> missing;
      std::string description = absl::StrCat("before change ", moment, " of ", log_.size());
      size_t choice = 0;
      for (const auto& [node, entries] : bytes) {
        const size_t kept = chosen[choice++];
        missing.insert(entries.begin() + kept, entries.end());
        absl::StrAppend(&description, ", file ", node, " has ", kept, " of ", entries.size());
      }
      for (const size_t name : names) {
        const bool kept = chosen[choice++] != 0;
        if (!kept) missing.insert(name);
        absl::StrAppend(&description, ", ", Describe(log_[name].change), kept ? " kept" : " lost");
      }
      MemoryDisk disk = start_;
      for (size_t i = 0; i < moment; ++i) {
        if (log_[i].mark.empty() && !missing.contains(i)) Apply(log_[i].change, disk);
      }
      MemoryStorage storage(std::move(disk));
      look({.disk = storage, .marks = marks, .description = description});
      ++looked;
    }
  }
  return looked;
}

}  // namespace hetero
