#include "hetero/data/energon/blend.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"

namespace hetero::data {

Blend::Blend(std::vector<RepeatedLoader> loaders, std::vector<float> weights, uint32_t seed,
             BlendState state)
    : loaders_(std::move(loaders)),
      weights_(std::move(weights)),
      live_weights_(loaders_.size()),
      ended_(std::move(state.ended)),
      random_(seed, state.num_draws) {
  if (ended_.empty()) {
    BeginPass();
    return;
  }
  num_live_ = std::count(ended_.begin(), ended_.end(), false);
  for (size_t i = 0; i < weights_.size(); ++i) live_weights_[i] = ended_[i] ? 0 : weights_[i];
}

absl::Status Blend::Check(size_t num_loaders, const BlendState& state) {
  if (state.ended.empty() || state.ended.size() == num_loaders) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrFormat("%d data sets are blended, not %d", state.ended.size(), num_loaders));
}

BlendState Blend::state() const { return {.num_draws = random_.num_draws(), .ended = ended_}; }

void Blend::BeginPass() {
  live_weights_ = weights_;
  ended_.assign(loaders_.size(), false);
  for (size_t i = 0; i < weights_.size(); ++i) ended_[i] = weights_[i] == 0;
  num_live_ = std::count(ended_.begin(), ended_.end(), false);
}

std::optional<SampleReference> Blend::Next() {
  while (num_live_ > 0) {
    const size_t i = weights_.empty()
                         ? std::find(ended_.begin(), ended_.end(), false) - ended_.begin()
                         : random_.Choice(live_weights_);
    if (const std::optional<int64_t> place = loaders_[i].Next(); place.has_value()) {
      return SampleReference{.data_set = static_cast<int64_t>(i), .place = *place};
    }
    ended_[i] = true;
    if (!weights_.empty()) live_weights_[i] = 0;
    --num_live_;
  }
  BeginPass();
  return std::nullopt;
}

}  // namespace hetero::data
