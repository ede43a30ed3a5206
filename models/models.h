#ifndef HETERO_MODELS_MODELS_H_
#define HETERO_MODELS_MODELS_H_

// Models of parts that live on grids: their description, their stages with explicit forward and
// backward, and the registry that makes them from configuration messages.

#include "hetero/models/registry.h"
#include "hetero/models/stage.h"

#endif  // HETERO_MODELS_MODELS_H_
