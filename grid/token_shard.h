#ifndef HETERO_GRID_TOKEN_SHARD_H_
#define HETERO_GRID_TOKEN_SHARD_H_

// Which of the rows that a lane's ranks hold together belong to a rank: equal consecutive ranges of
// the flat list, whatever sequences they cut. So tensor-parallel ranks share the tokens of a
// microbatch wherever a layer needs no other token, and what an encoder gives.

#include <algorithm>
#include <cstdint>

#include "hetero/base/rounding.h"

namespace hetero {

// T tokens on P ranks: rank p owns rows [p R, (p + 1) R) with R = ceil(T / P). Rows behind T are
// padding of the last ranks: they hold zeros, belong to no token and get no gradient.
struct TokenShard {
  int64_t num_tokens = 0;
  int64_t size = 1;  // ranks
  int64_t rank = 0;

  int64_t rows() const { return CeilDiv(num_tokens, size); }
  int64_t padded_tokens() const { return rows() * size; }

  // The first token of this rank; T when it has none.
  int64_t begin() const { return std::min(rank * rows(), num_tokens); }
  int64_t num_owned() const { return std::min((rank + 1) * rows(), num_tokens) - begin(); }

  // Precondition: token is in [0, T).
  int64_t OwnerOf(int64_t token) const { return token / rows(); }
};

}  // namespace hetero

#endif  // HETERO_GRID_TOKEN_SHARD_H_
