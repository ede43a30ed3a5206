#ifndef HETERO_TOOLS_MODEL_PROBE_PUBLISHED_MODEL_H_
#define HETERO_TOOLS_MODEL_PROBE_PUBLISHED_MODEL_H_

#include <filesystem>
#include <variant>

#include "absl/status/statusor.h"
#include "hetero/ckpt/storage/storage.h"
#include "hetero/models/nemotron/hybrid.pb.h"
#include "hetero/models/radio/radio.pb.h"

namespace hetero {

using PublishedModel = std::variant<proto::HybridLanguageModel, proto::RadioEncoder>;

// What the config.json of a public model's folder says it is: nemotron_h or radio. Whether layers
// of the latter have factors of 1 is what its weights say. Errors: NOT_FOUND without the file;
// INVALID_ARGUMENT another model_type, or what the model cannot be, each field by its name; those
// of StoredTensors::Open.
absl::StatusOr<PublishedModel> ReadPublishedModel(Storage& storage,
                                                  const std::filesystem::path& folder);

}  // namespace hetero

#endif  // HETERO_TOOLS_MODEL_PROBE_PUBLISHED_MODEL_H_
