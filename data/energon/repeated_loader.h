#ifndef HETERO_DATA_ENERGON_REPEATED_LOADER_H_
#define HETERO_DATA_ENERGON_REPEATED_LOADER_H_

// One data set of a worker, its epochs joined to passes.

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "hetero/data/energon/slice_loader.h"

namespace hetero::data {

struct RepeatedLoaderState {
  SliceLoaderState slices;
  int64_t num_repetitions = 0;  // of the pass, done
  int64_t num_samples = 0;      // of the repetition, given

  bool operator==(const RepeatedLoaderState&) const = default;
};

// With `repetitions` a pass is that many epochs. Of a fraction f the last one gives
// floor(f * samples of the worker) samples, or what is left of the epoch where that is less; the
// next pass goes on behind them. Unset: one pass without end.
class RepeatedLoader {
 public:
  // Precondition: *repetitions > 0; Check(loader, repetitions, state) is OK, and `loader` is in
  // state.slices.
  RepeatedLoader(SliceLoader loader, std::optional<double> repetitions,
                 const RepeatedLoaderState& state = {});

  // Whether a pass of that many repetitions can have been in that state; anything else is
  // DATA_LOSS.
  static absl::Status Check(std::optional<double> repetitions, const RepeatedLoaderState& state);

  // Of a pass, the samples of its last repetition where that is cut.
  static int64_t NumLastSamples(const WorkerSlices& slices, double repetitions);

  RepeatedLoaderState state() const;

  // The next sample of the pass; nothing at its end, after which another begins.
  // Precondition: a sample of the slices is not excluded, where `repetitions` are unset.
  std::optional<int64_t> Next();

 private:
  SliceLoader loader_;
  std::optional<double> repetitions_;
  int64_t num_repetitions_;
  int64_t num_samples_;
};

}  // namespace hetero::data

#endif  // HETERO_DATA_ENERGON_REPEATED_LOADER_H_
