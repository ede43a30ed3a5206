#ifndef HETERO_OPTIM_CONFIG_FROM_PROTO_H_
#define HETERO_OPTIM_CONFIG_FROM_PROTO_H_

// The optimizer's options from its configuration messages.

#include "hetero/optim/config/optim.pb.h"
#include "hetero/optim/learning_rate.h"
#include "hetero/optim/module_options.h"

namespace hetero {

// Numbers that are not set become 0.
AdamWOptions FromProto(const proto::AdamW& message);

// Without the lengths, which a message gives in steps or in samples: they become those of default
// options. A style that is not set becomes kConstant.
LearningRateOptions FromProto(const proto::LearningRateSchedule& message);

}  // namespace hetero

#endif  // HETERO_OPTIM_CONFIG_FROM_PROTO_H_
