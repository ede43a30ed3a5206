#ifndef HETERO_TRAINER_CONFIG_PIPELINE_RULES_H_
#define HETERO_TRAINER_CONFIG_PIPELINE_RULES_H_

// Whether modules can be cut into the pipeline stages and chunks that a configuration wants. Pure.

#include <cstdint>
#include <string_view>

#include "hetero/base/violation.h"
#include "hetero/models/stage.h"
#include "hetero/trainer/run_config.pb.h"

namespace hetero {

// Of each rank of a pipeline.
int64_t PipelineChunks(const proto::RunConfig& config);

// Whether the pipeline of the module that owns the samples can be interleaved as it is to be.
void CheckInterleaving(const proto::RunConfig& config, std::string_view sample_owner,
                       Violations& violations);

// Whether the layers of `module` divide into the stages of its grid, and these into chunks.
void CheckStages(const proto::RunConfig& config, const Model& model, const GraphModule& module,
                 Violations& violations);

}  // namespace hetero

#endif  // HETERO_TRAINER_CONFIG_PIPELINE_RULES_H_
