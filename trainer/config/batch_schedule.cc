#include "hetero/trainer/config/batch_schedule.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "google/protobuf/descriptor.h"
#include "hetero/base/config/field_rule.pb.h"

namespace hetero {
namespace {

using proto::RunConfig;

constexpr std::string_view kField = "batch_size_schedule";
constexpr int64_t kMaxTokens = 1'000'000'000'000'000'000;
constexpr size_t kMaxEntries = 64;

struct ScheduleEntry {
  std::string_view text;  // "250B:1536"
  int64_t tokens = 0;
  int64_t size = 0;
};

std::vector<std::string_view> Texts(std::string_view schedule) {
  return absl::StrSplit(schedule, absl::ByAnyChar(" \t\n"), absl::SkipEmpty());
}

std::string Joined(const std::vector<std::string_view>& texts) { return absl::StrJoin(texts, " "); }

std::string Without(std::string_view schedule, size_t index) {
  std::vector<std::string_view> texts = Texts(schedule);
  texts.erase(texts.begin() + static_cast<std::ptrdiff_t>(index));
  return Joined(texts);
}

// Digits and at most one of the suffixes.
std::optional<int64_t> ParseTokens(std::string_view text) {
  constexpr std::string_view kSuffixes = "KMBT";
  int64_t unit = 1;
  if (const size_t suffix = text.empty() ? text.npos : kSuffixes.find(text.back());
      suffix != kSuffixes.npos) {
    for (size_t i = 0; i <= suffix; ++i) unit *= 1000;
    text.remove_suffix(1);
  }
  int64_t count = 0;
  const bool digits = !text.empty() && text.find_first_not_of("0123456789") == text.npos;
  if (!digits || !absl::SimpleAtoi(text, &count) || count > kMaxTokens / unit) return std::nullopt;
  return count * unit;
}

std::optional<ScheduleEntry> ParseEntry(std::string_view text) {
  const std::pair<std::string_view, std::string_view> parts =
      absl::StrSplit(text, absl::MaxSplits(':', 1));
  const std::optional<int64_t> tokens = ParseTokens(parts.first);
  int64_t size = 0;
  const bool digits = parts.second.find_first_not_of("0123456789") == text.npos;
  if (!tokens.has_value() || !digits || !absl::SimpleAtoi(parts.second, &size)) return std::nullopt;
  return ScheduleEntry{.text = text, .tokens = *tokens, .size = size};
}

// Of a text that is sound.
std::vector<ScheduleEntry> EntriesOf(const RunConfig& config) {
  std::vector<ScheduleEntry> entries;
  for (const std::string_view text : Texts(config.batch_size_schedule())) {
    entries.push_back(ParseEntry(text).value());
  }
  return entries;
}

// The first rule that the text breaks by itself.
std::optional<Violation> CheckText(const std::string& schedule) {
  const std::vector<std::string_view> texts = Texts(schedule);
  const auto refuse = [&](auto... what) {
    return Refuse(kField, absl::StrCat(" is '", schedule, "', ", what...));
  };
  if (texts.empty() || texts.size() > kMaxEntries) {
    return refuse("must have 1 to ", kMaxEntries,
                  " pairs of tokens and samples, \"0:768 250B:1536\"");
  }
  for (const std::string_view text : texts) {
    const std::optional<ScheduleEntry> entry = ParseEntry(text);
    if (!entry.has_value()) {
      return refuse("where ", text,
                    " is no pair TOKENS:SAMPLES, tokens up to 10^18 with K, M, B or T for a "
                    "thousand, a million, a billion or 10^12");
    }
    if (entry->size >= 1 && entry->size <= MaxGlobalBatchSize()) continue;
    Violation violation = refuse("where ", text, " has ", entry->size,
                                 " samples a step, must be from 1 to ", MaxGlobalBatchSize());
    const auto index = static_cast<size_t>(std::ranges::find(texts, text) - texts.begin());
    const int64_t nearest = std::clamp<int64_t>(entry->size, 1, MaxGlobalBatchSize());
    violation.corrections = {{{std::string(kField), WithSize(schedule, index, nearest)}}};
    return violation;
  }
  return std::nullopt;
}

// What the entries break together, in samples of `sequence_length` tokens.
std::optional<Violation> CheckEntries(const std::vector<ScheduleEntry>& entries,
                                      const std::string& schedule, int64_t sequence_length) {
  const auto refuse = [&](std::string nearest, auto... what) {
    return Refuse(kField, absl::StrCat(" is '", schedule, "', ", what...), {std::move(nearest)});
  };
  if (entries.front().tokens != 0) {
    std::vector<std::string_view> texts = Texts(schedule);
    const std::string first = absl::StrCat("0:", entries.front().size);
    texts[0] = first;
    return refuse(Joined(texts), "must begin at 0 tokens");
  }
  for (size_t i = 1; i < entries.size(); ++i) {
    const ScheduleEntry& entry = entries[i];
    const ScheduleEntry& before = entries[i - 1];
    if (entry.tokens / sequence_length <= before.tokens / sequence_length) {
      return refuse(Without(schedule, i), "where ", entry.text, " begins at sample ",
                    entry.tokens / sequence_length, ", must be behind that of ", before.text, ", ",
                    before.tokens / sequence_length, " (sequence_length ", sequence_length, ")");
    }
    if (entry.size < before.size) {
      return refuse(WithSize(schedule, i, before.size), "where ", entry.text, " follows ",
                    before.text, ", must not be of fewer samples");
    }
  }
  return std::nullopt;
}

}  // namespace

int64_t MaxGlobalBatchSize() {
  const google::protobuf::FieldDescriptor& field =
      *RunConfig::descriptor()->FindFieldByName("global_batch_size");
  return static_cast<int64_t>(field.options().GetExtension(proto::rule).at_most());
}

std::string WithSize(std::string_view schedule, size_t index, int64_t size) {
  std::vector<std::string_view> texts = Texts(schedule);
  const std::string changed =
      absl::StrCat(texts[index].substr(0, texts[index].find(':')), ":", size);
  texts[index] = changed;
  return Joined(texts);
}

void CheckBatchSchedule(const RunConfig& config, Violations& violations) {
  if (!config.has_batch_size_schedule() || !violations.Sound({kField})) return;
  const std::string& schedule = config.batch_size_schedule();
  std::optional<Violation> broken = CheckText(schedule);
  if (!broken.has_value() && violations.Sound({"sequence_length"})) {
    broken = CheckEntries(EntriesOf(config), schedule, config.sequence_length());
  }
  if (broken.has_value()) violations.Add(*std::move(broken));
}

data::BatchSchedule BatchScheduleOf(const RunConfig& config) {
  if (!config.has_batch_size_schedule()) return data::BatchSchedule(config.global_batch_size());
  std::vector<data::BatchSchedule::Entry> entries;
  for (const ScheduleEntry& entry : EntriesOf(config)) {
    entries.push_back({entry.tokens / config.sequence_length(), entry.size});
  }
  return data::BatchSchedule::Make(entries).value();
}

std::vector<int64_t> ScheduledSizes(const RunConfig& config) {
  std::vector<int64_t> sizes;
  for (const ScheduleEntry& entry : EntriesOf(config)) sizes.push_back(entry.size);
  return sizes;
}

}  // namespace hetero
