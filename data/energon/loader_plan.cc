#include "hetero/data/energon/loader_plan.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "hetero/base/status.h"
#include "hetero/data/energon/repeated_loader.h"
#include "hetero/data/energon/worker_split.h"

namespace hetero::data {
namespace {

// The part of an increasing list that lies in `range`.
std::vector<int64_t> Within(const std::vector<int64_t>& list, IndexRange range) {
  return {std::lower_bound(list.begin(), list.end(), range.first),
          std::lower_bound(list.begin(), list.end(), range.end())};
}

}  // namespace

absl::StatusOr<std::shared_ptr<const LoaderPlan>> LoaderPlan::Make(LoaderOptions options) {
  HETERO_RETURN_IF_ERROR(Validate(options));
  const std::shared_ptr<LoaderPlan> plan(new LoaderPlan(std::move(options)));
  const int64_t num_workers = plan->options_.shape.AllWorkers();
  int64_t rotation = 0;
  for (const BlendedSplit& split : plan->options_.splits) {
    plan->borders_.push_back(WorkerBorders(split.samples.range(), num_workers, rotation));
    rotation = (rotation + split.samples.size()) % num_workers;
  }
  for (int64_t worker = 0; worker < num_workers; ++worker) {
    HETERO_RETURN_IF_ERROR(plan->CheckWorker(worker));
  }
  return plan;
}

IndexRange LoaderPlan::RangeOf(size_t split, int64_t worker) const {
  const int64_t begin = borders_[split][worker];
  return {.first = begin, .count = borders_[split][worker + 1] - begin};
}

WorkerSlices LoaderPlan::Slices(size_t split, int64_t worker) const {
  const SplitSamples& samples = options_.splits[split].samples;
  const IndexRange range = RangeOf(split, worker);
  return {.borders =
              SliceBorders(samples.shard_borders, range,
                           options_.is_training ? options_.max_samples_per_sequence : std::nullopt),
          .excluded = Within(samples.excluded, range)};
}

SliceOrder LoaderPlan::OrderOf(size_t split) const {
  if (!options_.is_training) return {.shuffle_over_epochs = std::nullopt, .num_open = 1};
  return {.shuffle_over_epochs = options_.splits[split].shuffle_over_epochs,
          .num_open = options_.num_open_slices};
}

std::optional<double> LoaderPlan::Repetitions(size_t split) const {
  if (!options_.is_training) return 1;
  if (options_.mode == BlendMode::kRepetitions) return options_.splits[split].share;
  if (options_.repeats) return std::nullopt;
  return 1;
}

std::vector<float> LoaderPlan::Weights(int64_t worker) const {
  if (!options_.is_training) return {};
  std::vector<float> weights(options_.splits.size());
  for (size_t i = 0; i < weights.size(); ++i) {
    const auto& [samples, share, epochs] = options_.splits[i];
    if (RangeOf(i, worker).count == 0) continue;
    const bool by_samples = options_.mode == BlendMode::kRepetitions;
    weights[i] =
        static_cast<float>(by_samples ? static_cast<double>(samples.size()) * share : share);
  }
  return weights;
}

std::optional<int64_t> LoaderPlan::BatchesOfEpoch(int64_t worker) const {
  const int64_t length = options_.virtual_epoch_length;
  if (!options_.is_training || length == 0) return std::nullopt;
  const int64_t num_workers = options_.shape.WorkersOfRank();
  return length / num_workers + (worker % num_workers < length % num_workers ? 1 : 0);
}

absl::Status LoaderPlan::CheckWorker(int64_t worker) const {
  if (!options_.is_training) return absl::OkStatus();
  bool has_samples = false;
  for (size_t i = 0; i < options_.splits.size(); ++i) {
    const IndexRange range = RangeOf(i, worker);
    const SplitSamples& samples = options_.splits[i].samples;
    const bool are_all_excluded = std::ssize(Within(samples.excluded, range)) == range.count;
    const std::optional<double> repetitions = Repetitions(i);
    const bool has_end =
        repetitions.has_value() && options_.splits[i].shuffle_over_epochs != kWithReplacement;
    if (range.count > 0 && are_all_excluded && !has_end) {
      return absl::FailedPreconditionError(absl::StrFormat(
          "worker %d of %d reads samples [%d, %d) of %s, which are all excluded; take fewer "
          "workers or take the data set out",
          worker, options_.shape.AllWorkers(), range.first, range.end(), samples.name));
    }
    const WorkerSlices slices = {.borders = {range.first, range.end()}};
    has_samples = has_samples ||
                  (!are_all_excluded && (!repetitions.has_value() || *repetitions >= 1 ||
                                         RepeatedLoader::NumLastSamples(slices, *repetitions) > 0));
  }
  const bool must_have = options_.repeats || options_.splits.size() > 1;
  if (has_samples || !must_have) return absl::OkStatus();
  int64_t num_samples = 0;
  for (const BlendedSplit& split : options_.splits) num_samples += split.samples.range().count;
  return absl::FailedPreconditionError(absl::StrFormat(
      "worker %d of %d has no sample to read: the data sets have %d; take at most as many workers "
      "(ranks times workers of a rank), less where samples are excluded or repeated in part",
      worker, options_.shape.AllWorkers(), num_samples));
}

}  // namespace hetero::data
