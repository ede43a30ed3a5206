#ifndef HETERO_MODELS_NEMOTRON_HYBRID_MODEL_H_
#define HETERO_MODELS_NEMOTRON_HYBRID_MODEL_H_

// The hybrid language model from its configuration message, alone or as the sink of a larger model.

#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/base/violation.h"
#include "hetero/models/nemotron/hybrid.h"
#include "hetero/models/nemotron/hybrid.pb.h"
#include "hetero/models/stage.h"

namespace hetero {

// Adds the rules that the fields of `config` break with each other, judging those that are sound in
// `violations`. Pure. `path` names the message in its configuration, "model.language".
void CheckRelations(const proto::HybridLanguageModel& config, std::string_view path,
                    Violations& violations);

// Precondition: neither a field's own rule nor one of CheckRelations is broken.
HybridConfig HybridConfigFromProto(const proto::HybridLanguageModel& config, DType storage);

// The name of the module.
inline constexpr std::string_view kLanguageModule = "language";

// The module of a graph.
GraphModule LanguageModule(const HybridConfig& config);

// What it reports: the loss and how evenly experts are used; with captions, how many it has right.
std::vector<Metric> LanguageMetrics(const HybridConfig& config, bool has_captions);

// One module, "language", and no edges: trains on text alone.
// Errors: INVALID_ARGUMENT with every violation, one a line.
absl::StatusOr<std::unique_ptr<Model>> MakeHybridModel(const proto::HybridLanguageModel& config,
                                                       DType storage = DType::kF32);

}  // namespace hetero

#endif  // HETERO_MODELS_NEMOTRON_HYBRID_MODEL_H_
