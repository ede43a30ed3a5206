#ifndef HETERO_TRAINER_CHECKPOINT_ARCHITECTURE_H_
#define HETERO_TRAINER_CHECKPOINT_ARCHITECTURE_H_

// What trained weights are weights of: the part of a model's configuration that must be the same
// where they are loaded. Tensors of equal shapes can still mean something else, as four heads of
// 32 and eight of 16.

#include <string>
#include <string_view>
#include <vector>

#include "google/protobuf/any.pb.h"
#include "nlohmann/json.hpp"

namespace hetero {

// Every field that is set by its path, "encoder.num_layers", and "model", the type of the message.
// Fields that may change (base/config/field_rule.proto) are left out.
nlohmann::json ArchitectureOf(const google::protobuf::Any& model);

// "model.encoder.num_layers is 2, the checkpoint has 4", for each field that differs, by path; of
// messages of different types the types alone.
std::vector<std::string> Differences(const nlohmann::json& own, const nlohmann::json& stored);

// "VisionLanguageModel 5a1f09c2": short, and another one for another architecture.
std::string ArchitectureId(const nlohmann::json& architecture);

}  // namespace hetero

#endif  // HETERO_TRAINER_CHECKPOINT_ARCHITECTURE_H_
