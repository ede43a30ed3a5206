#include "hetero/tools/model_probe/published_model.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/base/violation.h"
#include "hetero/ckpt/inspect/tensors.h"
#include "hetero/models/names/config_fields.h"
#include "hetero/models/nemotron/published_config.h"
#include "hetero/models/radio/published_config.h"

namespace hetero {
namespace {

absl::StatusOr<PublishedModel> Parse(const std::string& text) {
  HETERO_ASSIGN_OR_RETURN(const google::protobuf::Struct json, ParseConfigJson(text));
  Violations violations;
  ConfigFields fields(json, "", violations);
  const std::string type = fields.Text("model_type");
  PublishedModel model;
  if (type == "nemotron_h") {
    model = ReadNemotronH(fields);
  } else if (type == "radio") {
    proto::RadioEncoder encoder = ReadRadio(fields);
    encoder.set_final_norm(false);
    model = std::move(encoder);
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("model_type is \"", type, "\", must be nemotron_h or radio"));
  }
  HETERO_RETURN_IF_ERROR(ViolationsError(violations.list()));
  return model;
}

// Layers with factors and without have the same config.json where these begin with 1: transformers
// writes factors, published encoders have none.
absl::Status ReadLayerScale(Storage& storage, const std::filesystem::path& folder,
                            proto::RadioEncoder& encoder) {
  if (encoder.has_layer_scale_init()) return absl::OkStatus();
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<StoredTensors> tensors,
                          StoredTensors::Open(storage, folder));
  const bool has_factors = std::ranges::any_of(tensors->heads(), [](const auto& entry) {
    return absl::EndsWith(entry.first, ".layer_scale1.lambda1");
  });
  if (has_factors) encoder.set_layer_scale_init(1);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PublishedModel> ReadPublishedModel(Storage& storage,
                                                  const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "config.json";
  HETERO_ASSIGN_OR_RETURN(const std::string text, ReadText(storage, path));
  absl::StatusOr<PublishedModel> model = Parse(text);
  HETERO_RETURN_IF_ERROR(model.status()).With(path.native());
  if (auto* const encoder = std::get_if<proto::RadioEncoder>(&*model)) {
    HETERO_RETURN_IF_ERROR(ReadLayerScale(storage, folder, *encoder));
  }
  return model;
}

}  // namespace hetero
