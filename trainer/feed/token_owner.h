#ifndef HETERO_TRAINER_FEED_TOKEN_OWNER_H_
#define HETERO_TRAINER_FEED_TOKEN_OWNER_H_

// Which tokens of a microbatch a rank works on where the rows of edges arrive.

#include <algorithm>
#include <cstdint>

#include "hetero/base/index_range.h"
#include "hetero/data/sample_order.h"
#include "hetero/grid/token_shard.h"

namespace hetero {

// Tensor-parallel rank `rank` of the `size` that share the tokens of `samples`, a lane's, of a
// microbatch of the run. Each sample is a row of `row_length` tokens.
struct TokenOwner {
  data::SampleRange samples;
  int64_t row_length = 0;
  int64_t rank = 0;
  int64_t size = 1;

  // Of the lane's tokens.
  IndexRange own() const {
    const TokenShard shard = {.num_tokens = samples.size * row_length, .size = size, .rank = rank};
    return {shard.begin(), shard.num_owned()};
  }

  // Of the tokens of sample `sample` of the microbatch; none where it is another lane's.
  IndexRange OwnOf(int64_t sample) const {
    const int64_t offset = (sample - samples.begin) * row_length;
    const int64_t first = std::clamp<int64_t>(own().first - offset, 0, row_length);
    return {first, std::clamp<int64_t>(own().end() - offset, 0, row_length) - first};
  }

  // Where `count` consecutive tokens of the sample lie such that this rank owns as many of them as
  // it can. Precondition: a row has so many.
  IndexRange MostOwned(int64_t sample, int64_t count) const {
    return {std::min(OwnOf(sample).first, row_length - count), count};
  }

  // How many it owns then.
  int64_t MaxOwned(int64_t sample, int64_t count) const {
    return std::min(OwnOf(sample).count, count);
  }
};

}  // namespace hetero

#endif  // HETERO_TRAINER_FEED_TOKEN_OWNER_H_
