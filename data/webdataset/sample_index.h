#ifndef HETERO_DATA_WEBDATASET_SAMPLE_INDEX_H_
#define HETERO_DATA_WEBDATASET_SAMPLE_INDEX_H_

// "index.sqlite" of a Megatron-Energon data set: where each sample and each of its members lies.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/data/tar/scanner.h"

namespace hetero::data {

// Writes a fresh database. Unfinished until Close().
// Errors of all: RESOURCE_EXHAUSTED for want of memory or disk, those of SystemError; they name the
// file.
class SampleIndexWriter {
 public:
  // Precondition: no file at `path`.
  static absl::StatusOr<std::unique_ptr<SampleIndexWriter>> Create(
      const std::filesystem::path& path);
  ~SampleIndexWriter();

  // Appends the samples of the shard with this id (its place in the shard list) and name.
  // Errors: DATA_LOSS naming both places when a key was used before, by another sample or by
  // members of the same one that do not stand side by side.
  absl::Status AddShard(int64_t id, std::string_view name, const ShardContents& contents);

  // Builds the secondary indices and commits. Precondition: not closed.
  absl::Status Close();

  struct State;

 private:
  explicit SampleIndexWriter(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

// Looks samples up by key. Errors of all: DATA_LOSS for a damaged database, RESOURCE_EXHAUSTED for
// want of memory, those of SystemError; they name the file.
class SampleIndex {
 public:
  struct Location {
    int64_t shard_id = 0;
    int64_t sample_index = 0;  // within the shard
  };

  // Opens read-only. Errors: NOT_FOUND, or DATA_LOSS when the file is no such database.
  static absl::StatusOr<std::unique_ptr<SampleIndex>> Open(const std::filesystem::path& path);
  ~SampleIndex();

  // nullopt when no sample has this key.
  absl::StatusOr<std::optional<Location>> Find(std::string_view key);

  // Errors: DATA_LOSS when no sample lies there.
  absl::StatusOr<std::string> KeyAt(const Location& location);

  // Whether the database has the optional tables of media metadata, which SampleIndexWriter does
  // not write.
  absl::StatusOr<bool> HasMediaMetadata();

 private:
  struct State;
  explicit SampleIndex(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace hetero::data

#endif  // HETERO_DATA_WEBDATASET_SAMPLE_INDEX_H_
