#include "hetero/data/energon/loader_options.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "hetero/base/fnv.h"
#include "hetero/base/status.h"

namespace hetero::data {
namespace {

// Bounds what a wrong number can make us allocate.
constexpr int64_t kMaxWorkers = int64_t{1} << 24;
constexpr int64_t kMaxBuffer = int64_t{1} << 24;

absl::Status CheckNumber(std::string_view field, int64_t value, int64_t least, int64_t most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("%s is %d; it may be %d to %d", field, value, least, most));
}

absl::Status CheckSplit(const BlendedSplit& split, const LoaderOptions& options) {
  const SplitSamples& samples = split.samples;
  const std::vector<int64_t>& borders = samples.shard_borders;
  if (borders.empty() || borders[0] != 0 || !std::is_sorted(borders.begin(), borders.end())) {
    return absl::InvalidArgumentError("samples.shard_borders do not begin with 0 and grow");
  }
  if (!std::is_sorted(samples.excluded.begin(), samples.excluded.end())) {
    return absl::InvalidArgumentError("samples.excluded do not grow");
  }
  const IndexRange range = samples.range();
  if (range.first < 0 || range.count < 0 || range.end() > samples.size()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("samples.subset is [%d, %d); it may be within [0, %d)", range.first,
                        range.end(), samples.size()));
  }
  if (!options.is_training) return absl::OkStatus();
  const double weight =
      split.share * (options.mode == BlendMode::kRepetitions
                         ? static_cast<double>(std::max(samples.size(), int64_t{1}))
                         : 1);
  if (!(static_cast<float>(weight) > 0) || !std::isfinite(static_cast<float>(weight))) {
    return absl::InvalidArgumentError(
        absl::StrFormat("share is %g; it may be any positive float", split.share));
  }
  if (!split.shuffle_over_epochs.has_value()) {
    if (options.num_open_slices == 1) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrFormat("shuffle_over_epochs is unset and num_open_slices %d; slices that come as "
                        "they stand are open one at a time, so set shuffle_over_epochs to 1 or "
                        "num_open_slices to 1",
                        options.num_open_slices));
  }
  const int64_t epochs = *split.shuffle_over_epochs;
  if (epochs == kWithReplacement) return absl::OkStatus();
  return CheckNumber("shuffle_over_epochs", epochs, 1, int64_t{1} << 20);
}

std::string_view NameOf(BlendMode mode) {
  switch (mode) {
    case BlendMode::kNone:
      return "none";
    case BlendMode::kWeights:
      return "weights";
    case BlendMode::kRepetitions:
      return "repetitions";
  }
  return "";
}

std::string Hash(const std::vector<int64_t>& values) {
  uint64_t hash = kFnvOffsetBasis;
  for (const int64_t value : values) hash = Fnv1a(absl::StrCat(value, ","), hash);
  return absl::StrFormat("%d of hash %016x", values.size(), hash);
}

std::string OrUnset(const std::optional<int64_t>& value) {
  return value.has_value() ? absl::StrCat(*value) : "unset";
}

}  // namespace

ShardSample SplitSamples::Find(int64_t place) const {
  const auto end = std::upper_bound(shard_borders.begin(), shard_borders.end(), place);
  return {.shard = shards[end - shard_borders.begin() - 1], .index = place - *(end - 1)};
}

absl::Status Validate(const LoaderOptions& options) {
  constexpr int64_t kMost = int64_t{1} << 48;
  HETERO_RETURN_IF_ERROR(CheckNumber("shape.num_ranks", options.shape.num_ranks, 1, kMaxWorkers));
  HETERO_RETURN_IF_ERROR(
      CheckNumber("shape.num_workers", options.shape.num_workers, 0, kMaxWorkers));
  HETERO_RETURN_IF_ERROR(CheckNumber("all workers", options.shape.AllWorkers(), 1, kMaxWorkers));
  HETERO_RETURN_IF_ERROR(CheckNumber("num_open_slices", options.num_open_slices, 1, 4096));
  HETERO_RETURN_IF_ERROR(CheckNumber("max_samples_per_sequence",
                                     options.max_samples_per_sequence.value_or(1), 1, kMost));
  HETERO_RETURN_IF_ERROR(
      CheckNumber("shuffle_buffer_size", options.shuffle_buffer_size, 0, kMaxBuffer));
  HETERO_RETURN_IF_ERROR(CheckNumber("batch_size", options.batch_size, 1, kMaxBuffer));
  HETERO_RETURN_IF_ERROR(
      CheckNumber("virtual_epoch_length", options.virtual_epoch_length, 0, kMost));
  if (options.splits.empty()) return absl::InvalidArgumentError("splits is empty; name one");
  if (options.is_training && options.mode == BlendMode::kNone && options.splits.size() > 1) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "splits has %d entries; without a blend it may have 1", options.splits.size()));
  }
  if (options.is_training && options.mode == BlendMode::kWeights && !options.repeats) {
    return absl::InvalidArgumentError(
        "repeats is false; a blend by weights has no end, blend by repetitions or set it");
  }
  if (options.is_training && options.virtual_epoch_length > 0 && !options.repeats) {
    return absl::InvalidArgumentError(
        "repeats is false; virtual epochs are cut from passes without end, set "
        "virtual_epoch_length to 0 or repeats");
  }
  for (size_t i = 0; i < options.splits.size(); ++i) {
    HETERO_RETURN_IF_ERROR(CheckSplit(options.splits[i], options))
        .With(absl::StrFormat("splits[%d] (%s)", i, options.splits[i].samples.name));
  }
  return absl::OkStatus();
}

std::string Describe(const LoaderOptions& options) {
  std::string text = absl::StrCat(
      "workers of all ranks: ", options.shape.AllWorkers(),
      "\ntraining: ", options.is_training ? "yes" : "no", "\nblend: ", NameOf(options.mode),
      "\nseed_offset: ", options.seed_offset, "\nnum_open_slices: ", options.num_open_slices,
      "\nmax_samples_per_sequence: ", OrUnset(options.max_samples_per_sequence),
      "\nshuffle_buffer_size: ", options.shuffle_buffer_size,
      "\ndrops_last_batch: ", options.drops_last_batch ? "yes" : "no",
      "\nrepeats: ", options.repeats ? "yes" : "no", "\n");
  for (size_t i = 0; i < options.splits.size(); ++i) {
    const auto& [samples, share, epochs] = options.splits[i];
    absl::StrAppendFormat(
        &text,
        "data set %d: shard borders %s, excluded %s, range [%d, %d), share %.17g, "
        "shuffle_over_epochs %s\n",
        i, Hash(samples.shard_borders), Hash(samples.excluded), samples.range().first,
        samples.range().end(), share, OrUnset(epochs));
  }
  return text;
}

}  // namespace hetero::data
