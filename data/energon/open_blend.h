#ifndef HETERO_DATA_ENERGON_OPEN_BLEND_H_
#define HETERO_DATA_ENERGON_OPEN_BLEND_H_

// The data sets of a metadataset, opened.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/base/index_range.h"
#include "hetero/data/energon/loader_options.h"
#include "hetero/data/energon/sample_reference.h"
#include "hetero/data/file/long_work.h"
#include "hetero/data/webdataset/dataset.h"

namespace hetero::data {

// A data set, of which a subset may be read.
class BlendedDataset {
 public:
  // `split` is the same split of the same folder. Errors: FAILED_PRECONDITION naming a shard that
  // `dataset` has not, or other samples of.
  static absl::StatusOr<BlendedDataset> Make(std::shared_ptr<const Dataset> dataset,
                                             const SplitSamples& split);

  const std::shared_ptr<const Dataset>& dataset() const { return dataset_; }
  // Of the data set, those that are read.
  IndexRange samples() const { return samples_; }

  // How many of the data set's samples stand before a place of the split.
  // Precondition: 0 <= place <= size of the split.
  int64_t IndexAt(int64_t place) const;

 private:
  explicit BlendedDataset(std::shared_ptr<const Dataset> dataset) : dataset_(std::move(dataset)) {}

  std::shared_ptr<const Dataset> dataset_;
  std::vector<int64_t> borders_;    // places of shards, and the end
  std::vector<int64_t> positions_;  // of the shards' first samples in the data set
  IndexRange samples_;
};

// Data sets one behind the other, each with the samples that are read of it.
struct OpenedBlend {
  std::vector<BlendedDataset> parts;
  std::vector<int64_t> begins;       // of each part
  std::vector<BlendedSplit> splits;  // of the parts, as LoaderOptions takes them
  BlendMode mode = BlendMode::kNone;

  // The number of a sample that a loader of these splits reads.
  int64_t IndexOf(const SampleReference& sample) const {
    const BlendedDataset& part = parts[sample.data_set];
    return begins[sample.data_set] + part.IndexAt(sample.place) - part.samples().first;
  }

  // Which part has sample `index`, and its number in that part's data set.
  struct PartSample {
    size_t part = 0;
    int64_t number = 0;
  };
  PartSample Find(int64_t index) const;

  // The numbers of those samples that `names` have of data sets in `folder`, as Dataset::Find;
  // ascending, each once. Errors: those of Dataset::Find.
  absl::StatusOr<std::vector<int64_t>> FindNamed(const std::filesystem::path& folder,
                                                 std::string_view list,
                                                 std::span<const std::string> names) const;
};

// `path`: a prepared data set, or a metadataset file. `with_headers`: as DatasetOptions has it.
// aux.media_source of a data set of conversations is their media source.
// Errors: those of ReadBlend and Dataset::Open, with the command that prepares a damaged folder
// again; those of OpenMediaSource; INVALID_ARGUMENT for other auxiliary sources, those of other
// samples, and other files than dataset.yaml, naming the folder; FAILED_PRECONDITION for a part
// without samples.
absl::StatusOr<std::shared_ptr<const OpenedBlend>> OpenBlend(const std::filesystem::path& path,
                                                             std::string_view split,
                                                             const LongWork& work,
                                                             bool with_headers);

}  // namespace hetero::data

#endif  // HETERO_DATA_ENERGON_OPEN_BLEND_H_
