#include "hetero/data/webdataset/quarantine_list.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "hetero/base/status.h"
#include "hetero/data/file/file.h"
#include "hetero/data/file/file_lock.h"
#include "nlohmann/json.hpp"

namespace hetero::data {
namespace {

constexpr uint64_t kMaxListBytes = uint64_t{1} << 28;

constexpr std::pair<const char*, std::string ListedSample::*> kFields[] = {
    {"data_set", &ListedSample::data_set},
    {"sample", &ListedSample::sample},
    {"reason", &ListedSample::reason},
    {"found", &ListedSample::found},
};

absl::StatusOr<ListedSample> ParseLine(std::string_view line) {
  const nlohmann::json json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::InvalidArgumentError("is no JSON object");
  ListedSample sample;
  for (const auto& [name, field] : kFields) {
    const auto value = json.find(name);
    if (value == json.end() || !value->is_string()) {
      return absl::InvalidArgumentError(absl::StrFormat("has no text \"%s\"", name));
    }
    sample.*field = value->get<std::string>();
  }
  if (json.size() == std::size(kFields)) return sample;
  return absl::InvalidArgumentError("has more than data_set, sample, reason and found");
}

}  // namespace

std::string FormatQuarantine(std::span<const ListedSample> samples) {
  std::string text;
  for (const ListedSample& sample : samples) {
    nlohmann::ordered_json json;
    for (const auto& [name, field] : kFields) json[name] = sample.*field;
    // Names and reasons may hold bytes of a damaged file.
    absl::StrAppend(
        &text, json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace), "\n");
  }
  return text;
}

absl::StatusOr<std::vector<ListedSample>> ParseQuarantine(std::string_view text) {
  std::vector<ListedSample> samples;
  int line_number = 0;
  for (const std::string_view line : absl::StrSplit(text, '\n')) {
    ++line_number;
    if (line.empty()) continue;
    absl::StatusOr<ListedSample> sample = ParseLine(line);
    HETERO_RETURN_IF_ERROR(sample.status()).With(absl::StrCat("line ", line_number));
    samples.push_back(*std::move(sample));
  }
  return samples;
}

absl::StatusOr<std::vector<ListedSample>> ReadQuarantine(const std::filesystem::path& path) {
  const absl::StatusOr<std::string> text = ReadFile(path, kMaxListBytes);
  if (absl::IsNotFound(text.status())) return std::vector<ListedSample>();
  HETERO_RETURN_IF_ERROR(text.status());
  absl::StatusOr<std::vector<ListedSample>> samples = ParseQuarantine(*text);
  HETERO_RETURN_IF_ERROR(samples.status()).With(path.native());
  return samples;
}

absl::Status AddToQuarantine(const std::filesystem::path& path,
                             std::span<const ListedSample> samples) {
  std::filesystem::path lock_path = path;
  lock_path += ".lock";
  HETERO_ASSIGN_OR_RETURN(const FileLock lock, FileLock::Acquire(lock_path));
  HETERO_ASSIGN_OR_RETURN(std::vector<ListedSample> listed, ReadQuarantine(path));
  for (const ListedSample& sample : samples) {
    const bool is_listed = std::ranges::any_of(listed, [&](const ListedSample& other) {
      return other.data_set == sample.data_set && other.sample == sample.sample;
    });
    if (!is_listed) listed.push_back(sample);
  }
  return WriteFileAtomically(path, FormatQuarantine(listed));
}

}  // namespace hetero::data
