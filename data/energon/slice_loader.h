#ifndef HETERO_DATA_ENERGON_SLICE_LOADER_H_
#define HETERO_DATA_ENERGON_SLICE_LOADER_H_

// The samples that one worker reads of one data set, from several slices at a time.

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "hetero/data/energon/random_stream.h"

namespace hetero::data {

// What one worker reads of a data set. Samples go by their place in its split.
struct WorkerSlices {
  std::vector<int64_t> borders;   // slice s is [borders[s], borders[s + 1]); at least one border
  std::vector<int64_t> excluded;  // in these slices, passed over; increasing

  int64_t num_slices() const { return static_cast<int64_t>(borders.size()) - 1; }
  // Excluded ones included, as in every length that a loader computes with.
  int64_t num_samples() const { return borders.back() - borders.front(); }
};

// Slices are drawn anew each time.
inline constexpr int64_t kWithReplacement = -1;

struct SliceOrder {
  // Epochs whose slices are shuffled together, or kWithReplacement: then an epoch has no end.
  // Unset: slices come as they stand.
  std::optional<int64_t> shuffle_over_epochs = 1;
  // Slices that are open at a time; a sample comes from one of them by their lengths. 1 where
  // slices come as they stand.
  int64_t num_open = 16;
};

struct OpenSlice {
  static constexpr int64_t kNone = -1;

  int64_t slice = kNone;
  int64_t next = 0;  // the sample that it gives next

  bool operator==(const OpenSlice&) const = default;
};

struct SliceLoaderState {
  uint64_t num_draws = 0;
  bool is_in_epoch = false;
  // Slices of the epoch that are still to be opened, the next one last.
  std::vector<int64_t> pending;
  std::vector<OpenSlice> open;  // SliceOrder::num_open, once an epoch has begun

  bool operator==(const SliceLoaderState&) const = default;
};

class SliceLoader {
 public:
  // Precondition: Check(slices, order, state) is OK.
  SliceLoader(WorkerSlices slices, const SliceOrder& order, uint32_t seed,
              SliceLoaderState state = {});

  // Whether a loader of these slices can have been in that state; anything else is DATA_LOSS.
  static absl::Status Check(const WorkerSlices& slices, const SliceOrder& order,
                            const SliceLoaderState& state);

  const WorkerSlices& slices() const { return slices_; }
  SliceLoaderState state() const;

  // The next sample of the epoch; nothing at its end, after which another begins.
  std::optional<int64_t> Next();

 private:
  void BeginEpoch();
  void Open(size_t slot, int64_t slice);

  WorkerSlices slices_;
  SliceOrder order_;
  RandomStream random_;
  SliceLoaderState state_;      // but for num_draws
  std::vector<float> lengths_;  // of open slices, 0 where there is none
  int64_t num_live_ = 0;
};

}  // namespace hetero::data

#endif  // HETERO_DATA_ENERGON_SLICE_LOADER_H_
