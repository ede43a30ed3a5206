#ifndef HETERO_OPTIM_CONFIG_FROM_PROTO_H_
#define HETERO_OPTIM_CONFIG_FROM_PROTO_H_

// The optimizer's options from its configuration messages.

#include <cstdint>
#include <string_view>

#include "hetero/optim/config/optim.pb.h"
#include "hetero/optim/learning_rate.h"
#include "hetero/optim/module_options.h"
#include "hetero/optim/weight_decay.h"
#include "hetero/params/bucket_options.h"

namespace hetero {

// Numbers that are not set become 0.
AdamWOptions FromProto(const proto::AdamW& message);

BucketOptions FromProto(const proto::Buckets& message);

// Of the module of that name: what its entry in per_module sets, and the run's where it sets
// nothing or there is none. Buckets are either's as a whole. Precondition: at most one entry is the
// module's.
ModuleOptimizerOptions ModuleOptionsOf(const proto::Optimizer& message, std::string_view module);

// Of all modules without a decay of their own, over a run of so many samples.
WeightDecayOptions WeightDecayOf(const proto::Optimizer& message, int64_t run_samples);

// Without the lengths, which a message gives in steps or in samples: they become those of default
// options. A style that is not set becomes kConstant.
LearningRateOptions FromProto(const proto::LearningRateSchedule& message);

}  // namespace hetero

#endif  // HETERO_OPTIM_CONFIG_FROM_PROTO_H_
