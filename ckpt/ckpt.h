#ifndef HETERO_CKPT_CKPT_H_
#define HETERO_CKPT_CKPT_H_

// Saving and loading in one include; storages, publication and formats have their own.

#include "hetero/ckpt/checkpoint_tensor.h"  // IWYU pragma: export
#include "hetero/ckpt/exchange.h"           // IWYU pragma: export
#include "hetero/ckpt/load.h"               // IWYU pragma: export
#include "hetero/ckpt/plan/name_map.h"      // IWYU pragma: export
#include "hetero/ckpt/save.h"               // IWYU pragma: export

#endif  // HETERO_CKPT_CKPT_H_
