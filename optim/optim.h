#ifndef HETERO_OPTIM_OPTIM_H_
#define HETERO_OPTIM_OPTIM_H_

// The whole library in one include.

#include "hetero/optim/bucket_traffic.h"    // IWYU pragma: export
#include "hetero/optim/learning_rate.h"     // IWYU pragma: export
#include "hetero/optim/module_optimizer.h"  // IWYU pragma: export
#include "hetero/optim/module_options.h"    // IWYU pragma: export
#include "hetero/optim/optimizer.h"         // IWYU pragma: export
#include "hetero/optim/parameter_group.h"   // IWYU pragma: export
#include "hetero/optim/weight_decay.h"      // IWYU pragma: export

#endif  // HETERO_OPTIM_OPTIM_H_
