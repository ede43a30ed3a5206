#ifndef HETERO_DATA_WEBDATASET_QUARANTINE_LIST_H_
#define HETERO_DATA_WEBDATASET_QUARANTINE_LIST_H_

// The file that names the samples which runs pass over: a JSON object a line,
//   {"data_set": "/data/chats", "sample": "a-03.tar/00017", "reason": "...", "found": "2026-..."}.

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace hetero::data {

struct ListedSample {
  std::string data_set;  // its folder, absolute
  std::string sample;    // "shard/key", or a shard: all of its samples
  std::string reason;
  std::string found;  // when, by RFC 3339

  bool operator==(const ListedSample&) const = default;
};

std::string FormatQuarantine(std::span<const ListedSample> samples);

// Errors: INVALID_ARGUMENT naming the line and what is wrong with it.
absl::StatusOr<std::vector<ListedSample>> ParseQuarantine(std::string_view text);

// Those of the file; none without a file. Errors: those of ReadFile and, with the path, of
// ParseQuarantine.
absl::StatusOr<std::vector<ListedSample>> ReadQuarantine(const std::filesystem::path& path);

// Adds `samples` to what the file has, each once by data set and sample; runs that share a file
// take turns. Errors: those of ReadQuarantine, FileLock and WriteFileAtomically.
absl::Status AddToQuarantine(const std::filesystem::path& path,
                             std::span<const ListedSample> samples);

}  // namespace hetero::data

#endif  // HETERO_DATA_WEBDATASET_QUARANTINE_LIST_H_
