#include "hetero/data/energon/shuffle_buffer.h"

#include <utility>

namespace hetero::data {

ShuffleBuffer::ShuffleBuffer(int64_t size, uint32_t seed, ShuffleBufferState state)
    : size_(size), random_(seed, state.num_draws), state_(std::move(state)) {}

ShuffleBufferState ShuffleBuffer::state() const {
  ShuffleBufferState state = state_;
  state.num_draws = random_.num_draws();
  return state;
}

std::optional<SampleReference> ShuffleBuffer::Next(
    absl::FunctionRef<std::optional<SampleReference>()> pull) {
  if (size_ < 2) return pull();
  std::vector<SampleReference>& samples = state_.samples;
  while (!state_.is_draining && std::ssize(samples) < size_) {
    if (const std::optional<SampleReference> sample = pull(); sample.has_value()) {
      samples.push_back(*sample);
    } else {
      state_.is_draining = true;
    }
  }
  if (samples.empty()) {
    state_.is_draining = false;
    return std::nullopt;
  }
  const auto chosen = samples.begin() + random_.Below(std::ssize(samples));
  const SampleReference sample = *chosen;
  samples.erase(chosen);
  return sample;
}

}  // namespace hetero::data
