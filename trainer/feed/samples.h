#ifndef HETERO_TRAINER_FEED_SAMPLES_H_
#define HETERO_TRAINER_FEED_SAMPLES_H_

// The samples of a run: its data message checked against what the model takes, prepared once, then
// opened by every rank.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/base/violation.h"
#include "hetero/data/energon/lane_order.h"
#include "hetero/data/file/long_work.h"
#include "hetero/data/sample_order.h"
#include "hetero/data/source.h"
#include "hetero/tensor/sample_facts.h"
#include "hetero/trainer/feed/input_contract.h"
#include "hetero/trainer/feed/run_quarantine.h"
#include "hetero/trainer/run_config.pb.h"

namespace hetero {

// The largest sample that a run can meet, or the largest row of several.
struct SampleLimits {
  std::vector<data::SourceLimits> modalities;  // by ModelGraph::modalities
  bool packs_rows = false;                     // samples share rows
};

// Every rule between the data of `config` and the model. Pure: touches no file.
// Precondition: the model is sound, and each field of data by itself.
std::vector<Violation> ValidateData(const proto::RunConfig& config, const InputContract& contract);

// Of training and evaluation samples. Pure: touches no file.
// Precondition: ValidateData(config, contract) is empty.
SampleLimits LimitsOf(const proto::RunConfig& config, const InputContract& contract);

// No sample has more of anything. Where its placeholders lie is left open.
SampleFacts LargestSample(int64_t sequence_length, const SampleLimits& limits);

// The samples of one split and the order in which a run takes them.
struct SampleSet {
  data::SampleOrder order;
  // Opens a source for the calling thread. Thread safe; what is prepared is shared.
  std::function<absl::StatusOr<std::unique_ptr<data::SampleSource>>()> open;
  // Samples that the source gives blank; null: each that cannot be read is an error.
  std::shared_ptr<const SplitQuarantine> quarantine = nullptr;
  // Where a sample lies, for messages; reads nothing. Empty: nowhere.
  std::function<std::string(int64_t index)> where = {};
};

struct RunSamples {
  SampleSet train;
  // Has the state of the order of training samples; null where that is a function of their number.
  std::shared_ptr<data::LaneOrder> lane_order = nullptr;
  std::optional<SampleSet> evaluation;                  // one pass; unset without evaluation
  std::shared_ptr<RunQuarantine> quarantine = nullptr;  // of both; null without
  std::string description;  // "Fashion-MNIST in /root/.cache/hetero/fashion_mnist"
};

// Every rule between `config` and the data that it names, once they are open.
// Precondition: `config` is resolved (config.h).
std::vector<Violation> ValidateSamples(const proto::RunConfig& config, const RunSamples& samples);

// Prepares and opens what `config` names, once per process. Training samples are shuffled by the
// run's seed, except those of mock data without end, which are random as they are, and those in the
// order of loaders, of which each of `num_lanes`, the lanes of the module that owns samples, has
// one. `work`
// is told and asked when it takes seconds. Relative folders begin at `working_folder`.
// Precondition: ValidateData(config, contract) is empty.
// Errors: NOT_FOUND for a missing archive, naming the package to install, or a missing shard; those
// of the data set, naming its file; those of data::PlanRows and RunQuarantine, and INVALID_ARGUMENT
// for what its file says of the run's data sets and they do not have; those of the tokenizer and
// INVALID_ARGUMENT naming its field where it does not fit the model; CANCELLED when the user wants
// an end.
absl::StatusOr<RunSamples> PrepareSamples(const proto::RunConfig& config,
                                          const InputContract& contract, int64_t num_lanes,
                                          const std::filesystem::path& working_folder,
                                          const data::LongWork& work);

}  // namespace hetero

#endif  // HETERO_TRAINER_FEED_SAMPLES_H_
