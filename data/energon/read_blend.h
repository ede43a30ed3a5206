#ifndef HETERO_DATA_ENERGON_READ_BLEND_H_
#define HETERO_DATA_ENERGON_READ_BLEND_H_

// The data sets that a metadataset comes to, files within files resolved.

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/data/energon/loader_options.h"
#include "hetero/data/webdataset/media_source.h"

namespace hetero::data {

// A data set and what the files say of it.
struct BlendedFolder {
  std::filesystem::path folder;
  std::string split;
  std::optional<std::string> dataset_config;      // a file of its ".nv-meta"; unset: dataset.yaml
  std::map<std::string, std::string> subflavors;  // of outer files before those of inner ones
  std::map<std::string, MediaReference> aux;
};

struct BlendedFolders {
  std::vector<BlendedFolder> folders;
  // Of the same data sets, as LoaderOptions takes them. Weights are those of each level divided by
  // their sum, multiplied from the inside out, in double; repetitions are multiplied.
  std::vector<BlendedSplit> splits;
  BlendMode mode = BlendMode::kNone;
};

struct BlendRequest {
  std::string split = "train";
  // Multiplied by those of the files; with one that is null all is, else with one that is -1.
  std::optional<int64_t> shuffle_over_epochs = 1;
};

// `path`: a prepared data set, or a metadataset file, ".yaml". Paths in it are relative to it.
// Errors name the file and the field: INVALID_ARGUMENT for what ParseMetadataset refuses, a blend
// by weights within one by repetitions or the reverse, a file within itself, a range by samples of
// more than a data set; NOT_FOUND for an unknown split or a path that is neither; those of
// ReadSplitSamples.
absl::StatusOr<BlendedFolders> ReadBlend(const std::filesystem::path& path,
                                         const BlendRequest& request = {});

}  // namespace hetero::data

#endif  // HETERO_DATA_ENERGON_READ_BLEND_H_
