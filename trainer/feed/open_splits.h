#ifndef HETERO_TRAINER_FEED_OPEN_SPLITS_H_
#define HETERO_TRAINER_FEED_OPEN_SPLITS_H_

// Splits of prepared folders to the samples of a run.

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

// A split of a prepared folder, and the field of the configuration that names the folder.
struct NamedSplit {
  std::string_view field;
  std::filesystem::path folder;
  std::string_view split;
};

// How samples of a data set are read. Thread safe.
struct SampleReading {
  std::function<absl::StatusOr<std::unique_ptr<data::SampleSource>>(
      std::shared_ptr<const data::Dataset>)>
      open;
  bool with_headers = false;  // Dataset::Open(with_headers)
};

// Training samples and, if the run evaluates, those of `evaluation`. The description is that of the
// rows which training samples share.
// Errors: those of the data set and of `reading`, naming the field; those of data::PlanRows.
absl::StatusOr<RunSamples> OpenSplits(const proto::RunConfig& config, const InputContract& contract,
                                      const NamedSplit& train, const NamedSplit& evaluation,
                                      const SampleReading& reading, const data::LongWork& work);

}  // namespace hetero

#endif  // HETERO_TRAINER_FEED_OPEN_SPLITS_H_
