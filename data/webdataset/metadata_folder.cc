#include "hetero/data/webdataset/metadata_folder.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "hetero/base/status.h"
#include "hetero/data/file/file.h"
#include "hetero/data/webdataset/brace.h"
#include "hetero/data/webdataset/prepare_command.h"

namespace hetero::data {
namespace {

namespace fs = std::filesystem;

}  // namespace

absl::StatusOr<DatasetInfo> ReadDatasetInfo(const fs::path& root) {
  const fs::path folder = root / kMetadataFolder;
  absl::StatusOr<std::string> json = ReadFile(folder / kInfoFile);
  if (json.ok()) return ParseDatasetInfo(*json);
  if (!absl::IsNotFound(json.status())) return json.status();
  absl::StatusOr<std::string> yaml = ReadFile(folder / kOldInfoFile);
  if (yaml.ok()) return ParseDatasetInfoYaml(*yaml);
  if (!absl::IsNotFound(yaml.status())) return yaml.status();
  std::error_code error;
  if (!fs::is_directory(root, error)) {
    return absl::NotFoundError(absl::StrCat("there is no folder ", root.native()));
  }
  return absl::NotFoundError(
      absl::StrCat("no file ", (folder / kInfoFile).native(),
                   "; the folder holds no prepared data set, prepare it: ", PrepareCommand(root)));
}

absl::StatusOr<Metadata> ReadMetadata(const fs::path& root) {
  const fs::path folder = root / kMetadataFolder;
  Metadata metadata;
  HETERO_ASSIGN_OR_RETURN(metadata.info, ReadDatasetInfo(root));
  HETERO_ASSIGN_OR_RETURN(const std::string split, ReadFile(folder / kSplitFile));
  HETERO_ASSIGN_OR_RETURN(metadata.split, ParseSplitConfig(split));
  HETERO_ASSIGN_OR_RETURN(const std::string sample, ReadFile(folder / kSampleFile));
  HETERO_ASSIGN_OR_RETURN(metadata.fields, ParseSampleFields(sample));
  return metadata;
}

absl::StatusOr<std::vector<std::string>> ShardsOf(const SplitConfig& config,
                                                  std::string_view split) {
  const auto part = std::find_if(config.parts.begin(), config.parts.end(),
                                 [&](const auto& entry) { return entry.first == split; });
  if (part == config.parts.end()) {
    const std::string names = absl::StrJoin(
        config.parts, ", ",
        [](std::string* out, const auto& entry) { absl::StrAppend(out, entry.first); });
    return absl::NotFoundError(absl::StrFormat(
        "%s has no split \"%s\" under split_parts; it has %s", kSplitFile, split, names));
  }
  if (part->second.empty()) {
    return absl::FailedPreconditionError(
        absl::StrFormat("%s lists no shards under split_parts.%s; name there those of the split",
                        kSplitFile, split));
  }
  std::vector<std::string> shards;
  for (const std::string& pattern : part->second) {
    HETERO_ASSIGN_OR_RETURN(std::vector<std::string> names, ExpandBraces(pattern));
    std::move(names.begin(), names.end(), std::back_inserter(shards));
  }
  return shards;
}

}  // namespace hetero::data
