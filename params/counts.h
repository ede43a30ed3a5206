#ifndef HETERO_PARAMS_COUNTS_H_
#define HETERO_PARAMS_COUNTS_H_

// How many parameters a module has, in all and on one rank, and what a token costs in products with
// them. Buffers are no parameters. All of it follows from the table, without weights.

#include <cstdint>
#include <span>

#include "absl/status/statusor.h"
#include "hetero/params/parameter_spec.h"

namespace hetero {

// Elements of a whole module: the same in every layout.
struct ParameterCounts {
  int64_t all = 0;
  int64_t experts = 0;  // of gradient group kExpert
  int64_t active = 0;   // that a token uses, of experts on average
  int64_t trainable = 0;
};
ParameterCounts CountParameters(std::span<const ParameterSpec> specs);

// Elements on one rank of those that its stage owns.
struct RankParameterCounts {
  int64_t held = 0;   // in its memory
  int64_t owned = 0;  // in the sum over the ranks of one replica of the module each counts once
};

// `shard.pp.rank` is the stage. Errors: those of ShardOf.
absl::StatusOr<RankParameterCounts> CountRankParameters(std::span<const ParameterSpec> specs,
                                                        const ShardSpec& shard);

// Floating-point operations of a token's way through the layers that these are the parameters of:
// two for each element of a matrix or a convolution, of those of experts on average. Vectors scale
// and shift, which is not counted. A backward pass has twice as many.
double ProductFlops(std::span<const ParameterSpec> specs);

}  // namespace hetero

#endif  // HETERO_PARAMS_COUNTS_H_
