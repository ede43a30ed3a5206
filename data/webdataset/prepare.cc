#include "hetero/data/webdataset/prepare.h"

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <span>
#include <system_error>
#include <unordered_set>
#include <utility>
#include <variant>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "hetero/base/status.h"
#include "hetero/base/system_error.h"
#include "hetero/data/file/file.h"
#include "hetero/data/file/stoppable_file.h"
#include "hetero/data/image/image.h"
#include "hetero/data/tar/index.h"
#include "hetero/data/tar/scanner.h"
#include "hetero/data/tar/shard.h"
#include "hetero/data/webdataset/brace.h"
#include "hetero/data/webdataset/exclusions.h"
#include "hetero/data/webdataset/metadata_folder.h"
#include "hetero/data/webdataset/sample_check.h"
#include "hetero/data/webdataset/sample_headers.h"
#include "hetero/data/webdataset/sample_index.h"
#include "hetero/data/webdataset/shard_files.h"

namespace hetero::data {
namespace {

namespace fs = std::filesystem;

// The release of Megatron-Energon whose layout is written.
constexpr std::string_view kEnergonVersion = "7.4.1";

constexpr std::string_view kPreparation = "the preparation of the data set";

absl::Status FileSystemError(std::string_view what, const fs::path& path,
                             const std::error_code& error) {
  return SystemError(error.value(), absl::StrCat(what, " ", path.native()));
}

// The splits as they are written. Takes the shards that they use out of `unused`.
absl::StatusOr<SplitConfig> ResolveSplits(const PrepareOptions& options,
                                          std::span<const std::string> shards,
                                          std::set<std::string>& unused) {
  const std::unordered_set<std::string> known(shards.begin(), shards.end());
  SplitConfig config;
  for (const auto& [split, patterns] : options.splits) {
    std::vector<std::string> names;
    for (const std::string& pattern : patterns) {
      HETERO_ASSIGN_OR_RETURN(const std::vector<std::string> expanded, ExpandBraces(pattern));
      for (const std::string& name : expanded) {
        if (!known.contains(name)) {
          return absl::InvalidArgumentError(
              absl::StrFormat("split \"%s\" names shard %s, which does not exist; there are %d "
                              "from %s to %s",
                              split, name, shards.size(), shards.front(), shards.back()));
        }
        unused.erase(name);
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

// The exclude list that is written: what it was and what cannot be read.
absl::StatusOr<std::vector<std::string>> ExcludeList(const Exclusions& exclusions,
                                                     const PrepareReport& report) {
  std::vector<std::string> entries = exclusions.Found();
  for (const UnreadableSample& excluded : report.excluded) {
    const absl::StatusOr<std::vector<std::string>> names = ExpandBraces(excluded.sample);
    if (!names.ok() || *names != std::vector{excluded.sample}) {
      return absl::DataLossError(absl::StrFormat(
          "sample %s cannot be read (%s) nor excluded: braces in an exclude list stand for several "
          "names; rename its members or mend them",
          excluded.sample, excluded.reason));
    }
    entries.push_back(excluded.sample);
  }
  return entries;
}

// Of what the metadata folder `old` said and the new one does not.
void WarnOfLosses(const fs::path& old, const Exclusions& exclusions, PrepareReport& report) {
  for (const std::string& name : exclusions.NotFound()) {
    report.warnings.push_back(absl::StrFormat(
        "the exclude list's entry \"%s\" names no shard or sample; it is dropped", name));
  }
  if (const auto index = SampleIndex::Open(old / kIndexFile);
      index.ok() && (*index)->HasMediaMetadata().value_or(false)) {
    report.warnings.push_back(absl::StrFormat(
        "%s had media metadata, which this preparation does not write; energon makes it again",
        kIndexFile));
  }
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

// The text of dataset.yaml: the user's own where it says the same.
std::string SampleText(const fs::path& old, const SampleFields& fields) {
  absl::StatusOr<std::string> text = ReadFile(old / kSampleFile);
  if (text.ok()) {
    const absl::StatusOr<SampleFields> said = ParseSampleFields(*text);
    if (said.ok() && *said == fields) return *std::move(text);
  }
  return FormatSampleFields(fields);
}

// Of every split that has shards.
absl::Status WriteHeaders(const fs::path& folder, HeadersOrigin origin, const SplitConfig& config,
                          const std::map<std::string, std::vector<SampleHeader>>& by_shard) {
  for (const auto& [split, patterns] : config.parts) {
    if (patterns.empty()) continue;
    HETERO_ASSIGN_OR_RETURN(const std::vector<std::string> shards, ShardsOf(config, split));
    origin.shards.clear();
    std::vector<SampleHeader> headers;
    for (const std::string& name : shards) {
      const std::vector<SampleHeader>& of_shard = by_shard.at(name);
      origin.shards.emplace_back(name, std::ssize(of_shard));
      headers.insert(headers.end(), of_shard.begin(), of_shard.end());
    }
    HETERO_RETURN_IF_ERROR(
        WriteFlushed(HeadersFile(folder, split), FormatHeaders(origin, headers)));
  }
  return absl::OkStatus();
}

// Copies what preparation does not write from the folder `old`, if there is one, to `fresh`.
absl::Status KeepOtherFiles(const fs::path& old, const fs::path& fresh) {
  std::error_code error;
  if (!fs::exists(old, error)) return absl::OkStatus();
  for (const auto& entry : fs::directory_iterator(old, error)) {
    const fs::path name = entry.path().filename();
    // The older form of the shard list would contradict the one just written.
    if (name == kOldInfoFile || fs::exists(fresh / name, error)) continue;
    if (IsHeadersFile(name)) continue;  // of a split that there is no more
    fs::copy(entry.path(), fresh / name, fs::copy_options::recursive, error);
    if (error) return FileSystemError("cannot copy", entry.path(), error);
  }
  if (error) return FileSystemError("cannot list", old, error);
  return absl::OkStatus();
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

absl::StatusOr<PrepareOptions> OptionsOfPrepared(const fs::path& root) {
  HETERO_ASSIGN_OR_RETURN(Metadata metadata, ReadMetadata(root));
  PrepareOptions options = {.splits = {},
                            .fields = std::move(metadata.fields),
                            .exclude = std::move(metadata.split.exclude)};
  for (auto& part : metadata.split.parts) {
    if (!part.second.empty()) options.splits.push_back(std::move(part));
  }
  return options;
}

absl::StatusOr<PrepareReport> PrepareDataset(const fs::path& root, const PrepareOptions& options) {
  HETERO_ASSIGN_OR_RETURN(const ShardFiles files, FindShards(root));
  std::set<std::string> unused(files.shards.begin(), files.shards.end());
  HETERO_ASSIGN_OR_RETURN(SplitConfig split, ResolveSplits(options, files.shards, unused));
  HETERO_ASSIGN_OR_RETURN(Exclusions exclusions, Exclusions::Of(options.exclude));

  std::error_code error;
  const fs::path old = root / kMetadataFolder;
  const fs::path fresh = fs::path(old) += ".tmp";
  fs::remove_all(fresh, error);
  fs::create_directory(fresh, error);
  if (error) return FileSystemError("cannot create", fresh, error);
  absl::Cleanup remove_fresh = [&] {
    std::error_code ignored;
    fs::remove_all(fresh, ignored);
  };

  PrepareReport report;
  for (const std::string& name : files.compressed) {
    report.warnings.push_back(absl::StrFormat(
        "%s is compressed, has no random access and is not read; unpack it to a .tar", name));
  }
  for (const std::string& name : unused) {
    report.warnings.push_back(
        absl::StrFormat("shard %s is in no split: no run reads its samples", name));
  }
  DatasetInfo info = {.energon_version = std::string(kEnergonVersion), .shard_counts = {}};
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<SampleIndexWriter> index,
                          SampleIndexWriter::Create(fresh / kIndexFile));
  std::map<std::string, std::vector<SampleHeader>> headers;  // by shard
  const auto* const captions = std::get_if<CaptioningFields>(&options.fields);
  int64_t num_usable = 0;
  RawSample sample;
  Image decoded;
  for (const std::string& name : files.shards) {
    const fs::path path = root / name;
    HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<RandomAccessFile> file, OpenFile(path));
    HETERO_ASSIGN_OR_RETURN(const ShardContents contents,
                            ScanShard(StoppableFile(*file, options.work, kPreparation), name));
    if (contents.samples.empty()) {
      return absl::DataLossError(
          absl::StrFormat("shard %s has no samples: none of the files in its %d bytes is called "
                          "key.extension; copy it "
                          "again from its source or remove it",
                          name, file->size()));
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
    const bool is_excluded = exclusions.Contains(name);
    std::vector<SampleHeader>& of_shard = headers[name];
    of_shard.resize(shard->num_samples());
    for (int64_t i = 0; i < shard->num_samples(); ++i) {
      HETERO_RETURN_IF_ERROR(options.work.Continue(kPreparation));
      HETERO_RETURN_IF_ERROR(shard->Read(i, sample));
      if (exclusions.Contains(sample.Name()) || is_excluded) continue;
      const absl::Status status = CheckSample(sample, options.fields, options.media.get(), decoded);
      if (!status.ok() && !absl::IsDataLoss(status)) return status;
      if (status.ok()) {
        ++num_usable;
        if (captions != nullptr) of_shard[i] = HeaderOf(sample, *captions);
      } else {
        report.excluded.push_back(
            {.sample = sample.Name(), .reason = std::string(status.message())});
      }
    }
    ++report.num_shards;
    report.num_samples += shard->num_samples();
  }
  HETERO_RETURN_IF_ERROR(index->Close());
  if (num_usable == 0 && !report.excluded.empty()) {
    return absl::DataLossError(
        absl::StrFormat("none of the %d samples can be used; the first is %s: %s",
                        report.num_samples, report.excluded[0].sample, report.excluded[0].reason));
  }
  HETERO_ASSIGN_OR_RETURN(split.exclude, ExcludeList(exclusions, report));
  WarnOfLosses(old, exclusions, report);
  HETERO_RETURN_IF_ERROR(WriteFlushed(fresh / kInfoFile, FormatDatasetInfo(info)));
  HETERO_RETURN_IF_ERROR(WriteFlushed(fresh / kSplitFile, FormatSplitConfig(split)));
  HETERO_RETURN_IF_ERROR(WriteFlushed(fresh / kSampleFile, SampleText(old, options.fields)));
  const std::string index_id = RandomUuid();
  HETERO_RETURN_IF_ERROR(WriteFlushed(fresh / kIndexIdFile, index_id));
  if (captions != nullptr) {
    HETERO_RETURN_IF_ERROR(
        WriteHeaders(fresh, {.index_id = index_id, .fields = *captions}, split, headers));
  }
  HETERO_RETURN_IF_ERROR(KeepOtherFiles(old, fresh));
  HETERO_RETURN_IF_ERROR(SyncToDevice(fresh));
  HETERO_RETURN_IF_ERROR(InstallMetadata(fresh, root));
  std::move(remove_fresh).Cancel();
  return report;
}

}  // namespace hetero::data
