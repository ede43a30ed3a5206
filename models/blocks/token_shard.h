#ifndef HETERO_MODELS_BLOCKS_TOKEN_SHARD_H_
#define HETERO_MODELS_BLOCKS_TOKEN_SHARD_H_

#include "hetero/grid/token_shard.h"  // IWYU pragma: export

#endif  // HETERO_MODELS_BLOCKS_TOKEN_SHARD_H_
