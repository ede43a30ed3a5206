#include "hetero/data/energon/worker_stream.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"
#include "hetero/base/status.h"
#include "hetero/data/energon/slice_loader.h"
#include "hetero/data/energon/worker_seed.h"

namespace hetero::data {
namespace {

// Each stage has a generator of its own, all with the same seed.
uint32_t SeedOf(const LoaderPlan& plan, int64_t worker) {
  return WorkerSeed(worker, plan.options().seed_offset);
}

std::vector<RepeatedLoader> MakeLoaders(const LoaderPlan& plan, int64_t worker,
                                        const std::vector<RepeatedLoaderState>& states) {
  std::vector<RepeatedLoader> loaders;
  for (size_t i = 0; i < plan.options().splits.size(); ++i) {
    const RepeatedLoaderState state = states.empty() ? RepeatedLoaderState() : states[i];
    loaders.emplace_back(
        SliceLoader(plan.Slices(i, worker), plan.OrderOf(i), SeedOf(plan, worker), state.slices),
        plan.Repetitions(i), state);
  }
  return loaders;
}

}  // namespace

WorkerStream::WorkerStream(std::shared_ptr<const LoaderPlan> plan, int64_t worker,
                           const WorkerState& state)
    : plan_(std::move(plan)),
      batches_of_epoch_(plan_->BatchesOfEpoch(worker)),
      blend_(MakeLoaders(*plan_, worker, state.loaders), plan_->Weights(worker),
             SeedOf(*plan_, worker), state.blend),
      shuffle_(plan_->options().is_training ? plan_->options().shuffle_buffer_size : 0,
               SeedOf(*plan_, worker), state.shuffle),
      round_(state.round) {}

absl::Status WorkerStream::Check(const LoaderPlan& plan, int64_t worker, const WorkerState& state) {
  const size_t num_splits = plan.options().splits.size();
  if (!state.loaders.empty() && state.loaders.size() != num_splits) {
    return absl::DataLossError(
        absl::StrFormat("%d data sets are read, not %d", state.loaders.size(), num_splits));
  }
  for (size_t i = 0; i < state.loaders.size(); ++i) {
    HETERO_RETURN_IF_ERROR(
        SliceLoader::Check(plan.Slices(i, worker), plan.OrderOf(i), state.loaders[i].slices));
    HETERO_RETURN_IF_ERROR(RepeatedLoader::Check(plan.Repetitions(i), state.loaders[i]));
  }
  HETERO_RETURN_IF_ERROR(Blend::Check(num_splits, state.blend));
  const auto is_sample = [&](const SampleReference& sample) {
    if (sample.data_set < 0 || sample.data_set >= static_cast<int64_t>(num_splits)) return false;
    const int64_t size = plan.options().splits[sample.data_set].samples.size();
    return sample.place >= 0 && sample.place < size;
  };
  const std::vector<SampleReference>& buffer = state.shuffle.samples;
  if (std::ssize(buffer) > plan.options().shuffle_buffer_size ||
      !std::all_of(buffer.begin(), buffer.end(), is_sample)) {
    return absl::DataLossError("the shuffle buffer holds what no data set has, or too much");
  }
  if (state.round.num_rounds < 0 || state.round.num_batches < 0) {
    return absl::DataLossError("a number of rounds or batches is negative");
  }
  return absl::OkStatus();
}

WorkerState WorkerStream::state() const {
  WorkerState state = {.blend = blend_.state(), .shuffle = shuffle_.state(), .round = round_};
  for (const RepeatedLoader& loader : blend_.loaders()) state.loaders.push_back(loader.state());
  return state;
}

std::optional<SampleReference> WorkerStream::NextSample() {
  const bool repeats = plan_->options().is_training && plan_->options().repeats;
  return shuffle_.Next([&] {
    std::optional<SampleReference> sample = blend_.Next();
    while (repeats && !sample.has_value()) sample = blend_.Next();
    return sample;
  });
}

std::vector<SampleReference> WorkerStream::Next() {
  const LoaderOptions& options = plan_->options();
  std::vector<SampleReference> batch;
  const bool is_epoch_over =
      batches_of_epoch_.has_value() && round_.num_batches >= *batches_of_epoch_;
  if (!is_epoch_over) {
    while (!round_.has_pass_ended && std::ssize(batch) < options.batch_size) {
      if (const std::optional<SampleReference> sample = NextSample(); sample.has_value()) {
        batch.push_back(*sample);
      } else {
        round_.has_pass_ended = true;
      }
    }
    if (options.drops_last_batch && std::ssize(batch) < options.batch_size) batch.clear();
  }
  if (batch.empty()) {
    round_.has_ended = true;
  } else {
    ++round_.num_batches;
  }
  return batch;
}

void WorkerStream::BeginRound() { round_ = {.num_rounds = round_.num_rounds + 1}; }

}  // namespace hetero::data
