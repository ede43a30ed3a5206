#ifndef HETERO_DATA_ENERGON_SHUFFLE_BUFFER_H_
#define HETERO_DATA_ENERGON_SHUFFLE_BUFFER_H_

// Gives samples of a stream a little out of order.

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/functional/function_ref.h"
#include "hetero/data/energon/random_stream.h"
#include "hetero/data/energon/sample_reference.h"

namespace hetero::data {

struct ShuffleBufferState {
  uint64_t num_draws = 0;
  bool is_draining = false;  // the stream has ended
  std::vector<SampleReference> samples;

  bool operator==(const ShuffleBufferState&) const = default;
};

// Is filled before each sample that it gives: any of those it holds; the others keep their order.
// Of less than two samples: the stream as it is.
class ShuffleBuffer {
 public:
  // Precondition: size >= 0, state.samples are at most `size`.
  ShuffleBuffer(int64_t size, uint32_t seed, ShuffleBufferState state = {});

  ShuffleBufferState state() const;

  // The next sample; nothing when `pull` gives none and the buffer is empty, after which both begin
  // anew.
  std::optional<SampleReference> Next(absl::FunctionRef<std::optional<SampleReference>()> pull);

 private:
  int64_t size_;
  RandomStream random_;
  ShuffleBufferState state_;  // but for num_draws
};

}  // namespace hetero::data

#endif  // HETERO_DATA_ENERGON_SHUFFLE_BUFFER_H_
