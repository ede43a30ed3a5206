#include "hetero/models/nemotron/hybrid_flops.h"

#include <vector>

#include "hetero/params/counts.h"

namespace hetero {
namespace {

// Of a token, in chunks of Q tokens: C Bᵀ [Q, Q] of each group, and of each head the chunk's state,
// what the state before gives, and what the tokens of the chunk give (Dao and Gu,
// arXiv:2405.21060, section 6).
double ScanFlops(const MambaConfig& config) {
  const auto p = static_cast<double>(config.head_dim), n = static_cast<double>(config.state_size);
  const auto q = static_cast<double>(config.chunk_size);
  return 2 * (static_cast<double>(config.num_groups) * q * n +
              static_cast<double>(config.num_heads) * (2 * p * n + q * p));
}

// Of a layer over a sequence.
Flops LayerFlops(const HybridConfig& config, LayerKind kind, double length,
                 WantedGradients wanted) {
  const auto products = [&](const std::vector<ParameterSpec>& specs) {
    return OfParameterProducts(length * ProductFlops(specs), wanted);
  };
  Flops flops;
  switch (kind) {
    case LayerKind::kMamba:
      flops = products(MambaBlock::Parameters(config.mamba, ""));
      flops += OfActivationProducts(length * ScanFlops(config.mamba), wanted);
      return flops;
    case LayerKind::kAttention: {
      flops = products(AttentionBlock::Parameters(config.attention, ""));
      // q kᵀ and the sum of v, two operations each, for half of the pairs.
      const auto width =
          static_cast<double>(config.attention.num_heads * config.attention.head_dim);
      flops += OfActivationProducts(2 * width * length * length, wanted);
      return flops;
    }
    case LayerKind::kExperts:
      return products(MoeBlock::Parameters(config.experts, ""));
    case LayerKind::kMlp:
      return products(MlpBlock::Parameters(config.mlp, ""));
  }
  return flops;
}

}  // namespace

Flops HybridFlops(const HybridConfig& config, int64_t sequence_length, bool passes_gradient) {
  const auto length = static_cast<double>(sequence_length);
  const WantedGradients wanted = {.inputs = config.trainable || passes_gradient,
                                  .parameters = config.trainable};
  const auto head = 2 * static_cast<double>(config.vocabulary_size * config.hidden_size);
  Flops flops = OfParameterProducts(length * head, wanted);
  for (const LayerKind kind : config.pattern.layers()) {
    flops += LayerFlops(config, kind, length, wanted);
  }
  return flops;
}

}  // namespace hetero
