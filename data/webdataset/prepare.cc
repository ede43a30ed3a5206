#include "hetero/data/webdataset/prepare.h"

#include <algorithm>
#include <memory>
#include <random>
#include <span>
#include <system_error>
#include <unordered_set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "hetero/base/status.h"
#include "hetero/data/file/file.h"
#include "hetero/data/image/codec.h"
#include "hetero/data/image/image.h"
#include "hetero/data/tar/index.h"
#include "hetero/data/tar/scanner.h"
#include "hetero/data/tar/shard.h"
#include "hetero/data/webdataset/brace.h"
#include "hetero/data/webdataset/field.h"
#include "hetero/data/webdataset/sample_index.h"

namespace hetero::data {
namespace {

namespace fs = std::filesystem;

// The release of Megatron-Energon whose layout is written.
constexpr std::string_view kEnergonVersion = "7.4.1";

absl::Status FileSystemError(std::string_view what, const fs::path& path,
                             const std::error_code& error) {
  return absl::InternalError(absl::StrCat(what, " ", path.native(), ": ", error.message()));
}

bool IsHidden(const fs::path& path) { return path.filename().native().starts_with('.'); }

// Shard names relative to `root`, ordered by path components.
absl::StatusOr<std::vector<std::string>> FindShards(const fs::path& root) {
  std::error_code error;
  std::vector<fs::path> paths;
  fs::recursive_directory_iterator entry(root, error);
  if (error) return FileSystemError("cannot list", root, error);
  for (; entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    if (error) return FileSystemError("cannot list", root, error);
    if (IsHidden(entry->path())) {
      entry.disable_recursion_pending();
      continue;
    }
    const fs::path extension = entry->path().extension();
    if (extension == ".tgz") {
      return absl::UnimplementedError(absl::StrCat(
          entry->path().native(), " is compressed and has no random access; unpack it to a .tar"));
    }
    if (extension == ".tar") paths.push_back(entry->path().lexically_relative(root));
  }
  if (paths.empty()) return absl::NotFoundError(absl::StrCat(root.native(), " holds no .tar file"));
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> names;
  for (const fs::path& path : paths) names.push_back(path.generic_string());
  return names;
}

absl::StatusOr<SplitConfig> ResolveSplits(const PrepareOptions& options,
                                          std::span<const std::string> shards) {
  const std::unordered_set<std::string> known(shards.begin(), shards.end());
  SplitConfig config;
  for (const auto& [split, patterns] : options.splits) {
    std::vector<std::string> names;
    for (const std::string& pattern : patterns) {
      HETERO_ASSIGN_OR_RETURN(const std::vector<std::string> expanded, ExpandBraces(pattern));
      for (const std::string& name : expanded) {
        if (!known.contains(name)) {
          return absl::InvalidArgumentError(
              absl::StrFormat("split \"%s\" names shard %s, which does not exist", split, name));
        }
        names.push_back(name);
      }
    }
    if (names.empty()) {
      return absl::InvalidArgumentError(absl::StrFormat("split \"%s\" has no shard", split));
    }
    config.parts.emplace_back(split, CollapseRuns(names));
  }
  return config;
}

// What a run will need from the sample, decoded once.
absl::Status CheckSample(const RawSample& sample, const CaptioningFields& fields, Image& scratch) {
  HETERO_RETURN_IF_ERROR(SelectPart(sample, fields.caption));
  HETERO_ASSIGN_OR_RETURN(const RawSample::Part* image, SelectPart(sample, fields.image));
  HETERO_RETURN_IF_ERROR(DecodeImage(image->bytes, scratch))
      .With(absl::StrCat("member ", sample.key, ".", image->extension));
  return absl::OkStatus();
}

// A random UUID (RFC 4122, version 4).
std::string RandomUuid() {
  std::random_device random;
  uint32_t words[4];
  for (uint32_t& word : words) word = random();
  words[1] = (words[1] & 0xffff0fff) | 0x00004000;
  words[2] = (words[2] & 0x3fffffff) | 0x80000000;
  return absl::StrFormat("%08x-%04x-%04x-%04x-%04x%08x", words[0], words[1] >> 16,
                         words[1] & 0xffff, words[2] >> 16, words[2] & 0xffff, words[3]);
}

absl::Status WriteFlushed(const fs::path& path, std::string_view bytes) {
  HETERO_ASSIGN_OR_RETURN(FileWriter writer, FileWriter::Create(path));
  HETERO_RETURN_IF_ERROR(writer.Write(bytes));
  return writer.Close();
}

// Puts `fresh` in the place of the metadata folder of `root`.
absl::Status InstallMetadata(const fs::path& fresh, const fs::path& root) {
  std::error_code error;
  const fs::path target = root / kMetadataFolder;
  if (!fs::exists(target, error)) return RenameDurably(fresh, target);
  fs::path old = target;
  old += ".old";
  fs::remove_all(old, error);
  HETERO_RETURN_IF_ERROR(RenameDurably(target, old));
  HETERO_RETURN_IF_ERROR(RenameDurably(fresh, target));
  fs::remove_all(old, error);
  if (error) return FileSystemError("cannot remove", old, error);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PrepareReport> PrepareDataset(const fs::path& root, const PrepareOptions& options) {
  HETERO_ASSIGN_OR_RETURN(const std::vector<std::string> shards, FindShards(root));
  HETERO_ASSIGN_OR_RETURN(SplitConfig split, ResolveSplits(options, shards));

  std::error_code error;
  fs::path fresh = root / kMetadataFolder;
  fresh += ".tmp";
  fs::remove_all(fresh, error);
  fs::create_directory(fresh, error);
  if (error) return FileSystemError("cannot create", fresh, error);

  PrepareReport report;
  DatasetInfo info = {.energon_version = std::string(kEnergonVersion), .shard_counts = {}};
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<SampleIndexWriter> index,
                          SampleIndexWriter::Create(fresh / kIndexFile));
  RawSample sample;
  Image decoded;
  for (const std::string& name : shards) {
    const fs::path path = root / name;
    HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<RandomAccessFile> file, OpenFile(path));
    HETERO_ASSIGN_OR_RETURN(const ShardContents contents, ScanShard(*file, name));
    if (contents.samples.empty()) {
      return absl::InvalidArgumentError(
          absl::StrFormat("shard %s has no samples; remove %s", name, path.native()));
    }
    if (!contents.has_end_marker) {
      report.warnings.push_back(
          absl::StrFormat("shard %s has no end-of-archive blocks; its %d samples are whole", name,
                          contents.samples.size()));
    }
    HETERO_RETURN_IF_ERROR(index->AddShard(report.num_shards, name, contents));
    HETERO_RETURN_IF_ERROR(WriteTarIndex(path, contents.Index()));
    info.shard_counts.emplace_back(name, static_cast<int64_t>(contents.samples.size()));

    HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<TarShard> shard, TarShard::Open(path, name));
    for (int64_t i = 0; i < shard->num_samples(); ++i) {
      HETERO_RETURN_IF_ERROR(shard->Read(i, sample));
      if (absl::Status bad = CheckSample(sample, options.fields, decoded); !bad.ok()) {
        report.excluded.push_back({.sample = sample.Name(), .reason = std::string(bad.message())});
        split.exclude.push_back(sample.Name());
      }
    }
    ++report.num_shards;
    report.num_samples += shard->num_samples();
  }
  HETERO_RETURN_IF_ERROR(index->Close());
  HETERO_RETURN_IF_ERROR(WriteFlushed(fresh / kInfoFile, FormatDatasetInfo(info)));
  HETERO_RETURN_IF_ERROR(WriteFlushed(fresh / kSplitFile, FormatSplitConfig(split)));
  HETERO_RETURN_IF_ERROR(WriteFlushed(fresh / kSampleFile, FormatCaptioningFields(options.fields)));
  HETERO_RETURN_IF_ERROR(WriteFlushed(fresh / kIndexIdFile, RandomUuid()));
  HETERO_RETURN_IF_ERROR(SyncToDevice(fresh));
  HETERO_RETURN_IF_ERROR(InstallMetadata(fresh, root));
  return report;
}

}  // namespace hetero::data
