#include "hetero/models/nemotron/hybrid_flops.h"

#include "hetero/params/counts.h"

namespace hetero {
namespace {

// Of a token, in chunks of Q tokens: C Bᵀ [Q, Q] of each group, and of each head the chunk's state,
// what the state before gives, and what the tokens of the chunk give (Dao and Gu,
// arXiv:2405.21060, section 6).
double ScanFlops(const MambaConfig& config) {
  const double p = config.head_dim, n = config.state_size, q = config.chunk_size;
  return 2 * (config.num_groups * q * n + config.num_heads * (2 * p * n + q * p));
}

}  // namespace

double HybridForwardFlops(const HybridConfig& config, std::span<const int64_t> sequence_lengths) {
  const auto count = [&](LayerKind kind) {
    return static_cast<double>(config.pattern.Count(kind));
  };
  const double mamba =
      ProductFlops(MambaBlock::Parameters(config.mamba, "")) + ScanFlops(config.mamba);
  const double head = 2 * static_cast<double>(config.vocabulary_size * config.hidden_size);
  const double per_token =
      head + count(LayerKind::kMamba) * mamba +
      count(LayerKind::kAttention) *
          ProductFlops(AttentionBlock::Parameters(config.attention, "")) +
      count(LayerKind::kExperts) * ProductFlops(MoeBlock::Parameters(config.experts, "")) +
      count(LayerKind::kMlp) * ProductFlops(MlpBlock::Parameters(config.mlp, ""));
  // q kᵀ and the sum of v, two operations each, for half of the pairs.
  const double per_pair =
      count(LayerKind::kAttention) * 2 *
      static_cast<double>(config.attention.num_heads * config.attention.head_dim);
  double flops = 0;
  for (const int64_t sequence : sequence_lengths) {
    const auto length = static_cast<double>(sequence);
    flops += length * (per_token + per_pair * length);
  }
  return flops;
}

}  // namespace hetero
