#ifndef HETERO_OPTIM_MODULE_OPTIONS_H_
#define HETERO_OPTIM_MODULE_OPTIONS_H_

// What the optimizer of one module is to do.

#include "hetero/params/bucket_options.h"

namespace hetero {

struct AdamWOptions {
  double beta1 = 0;
  double beta2 = 0;
  double epsilon = 0;
  double weight_decay = 0;  // of parameters whose spec decays
};

struct ModuleOptimizerOptions {
  AdamWOptions adamw;
  double learning_rate_scale = 1;  // times the rate of the run's schedule
  // Decay is that of the run's schedule; otherwise it is adamw.weight_decay throughout.
  bool scheduled_weight_decay = false;
  // The module is clipped alone, to this share of the run's largest norm; 0: with all others of 0.
  double clip_share = 0;
  BucketOptions buckets;
  bool overlap_gradient_reduce = true;   // sums of buckets beside the backward that completes them
  bool overlap_parameter_gather = true;  // values of buckets beside the next step's forward

  // Of the module, where the run's schedules say `scheduled`.
  double LearningRate(double scheduled) const { return scheduled * learning_rate_scale; }
  double WeightDecay(double scheduled) const {
    return scheduled_weight_decay ? scheduled : adamw.weight_decay;
  }
};

}  // namespace hetero

#endif  // HETERO_OPTIM_MODULE_OPTIONS_H_
