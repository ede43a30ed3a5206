#ifndef HETERO_DATA_ENERGON_METADATASET_H_
#define HETERO_DATA_ENERGON_METADATASET_H_

// A metadataset file of Megatron-Energon, version 2, as values: for each split one data set, or
// several with weights or repetitions. Nothing that it names is opened, no class is made.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/data/energon/loader_options.h"
#include "hetero/data/energon/subset.h"
#include "hetero/data/webdataset/media_source.h"

namespace hetero::data {

// A data set, or the split of another metadataset file.
struct DatasetReference {
  std::string field;                      // where it stands, for messages: "splits.train.blend[1]"
  std::string path;                       // relative to the file's folder
  std::optional<std::string> split_part;  // unset: as the split that is read
  std::map<std::string, std::string> subflavors;              // values as YAML has them
  std::optional<int64_t> shuffle_over_epochs_multiplier = 1;  // unset for null
  std::optional<Subset> subset;
  std::optional<std::string> dataset_config;  // files of ".nv-meta" in the place of dataset.yaml
  std::optional<std::string> split_config;    // and split.yaml
  std::map<std::string, MediaReference> aux;
  double share = 1;  // weight or repetitions

  bool operator==(const DatasetReference&) const = default;
};

struct MetadatasetSplit {
  BlendMode mode = BlendMode::kNone;
  std::optional<Subset> subset;  // of each entry
  std::vector<DatasetReference> entries;

  bool operator==(const MetadatasetSplit&) const = default;
};

struct Metadataset {
  std::vector<std::pair<std::string, MetadatasetSplit>> splits;  // as the file has them
};

// Errors: INVALID_ARGUMENT naming field, value and what is accepted.
absl::StatusOr<Metadataset> ParseMetadataset(std::string_view yaml);

}  // namespace hetero::data

#endif  // HETERO_DATA_ENERGON_METADATASET_H_
