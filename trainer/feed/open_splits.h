#ifndef HETERO_TRAINER_FEED_OPEN_SPLITS_H_
#define HETERO_TRAINER_FEED_OPEN_SPLITS_H_

// Splits of prepared folders, or of several by a metadataset, to the samples of a run.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "hetero/data/file/long_work.h"
#include "hetero/data/source.h"
#include "hetero/data/webdataset/dataset.h"
#include "hetero/trainer/feed/input_contract.h"
#include "hetero/trainer/feed/samples.h"
#include "hetero/trainer/run_config.pb.h"

namespace hetero {

// A split of what a field of the configuration names: a prepared folder or a metadataset.
struct NamedSplit {
  std::string_view field;
  std::filesystem::path path;
  std::string_view split;
};

// How samples of a data set are read. Thread safe.
struct SampleReading {
  std::function<absl::StatusOr<std::unique_ptr<data::SampleSource>>(
      std::shared_ptr<const data::Dataset>)>
      open;
  bool with_headers = false;  // DatasetOptions::with_headers
};

// Training samples and, if the run evaluates, those of `evaluation`. The description is that of the
// order of training samples, or of the rows that they share. Relative files begin at
// `working_folder`.
// Errors: those of the data sets and of `reading`, naming the field; those of data::PlanRows,
// data::LoaderPlan and RunQuarantine; INVALID_ARGUMENT for rows of several data sets.
absl::StatusOr<RunSamples> OpenSplits(const proto::RunConfig& config, const InputContract& contract,
                                      int64_t num_lanes, const NamedSplit& train,
                                      const NamedSplit& evaluation, const SampleReading& reading,
                                      const std::filesystem::path& working_folder,
                                      const data::LongWork& work);

}  // namespace hetero

#endif  // HETERO_TRAINER_FEED_OPEN_SPLITS_H_
