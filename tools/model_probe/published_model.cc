#include "hetero/tools/model_probe/published_model.h"

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/base/violation.h"
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

}  // namespace

absl::StatusOr<PublishedModel> ReadPublishedModel(Storage& storage,
                                                  const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "config.json";
  HETERO_ASSIGN_OR_RETURN(const std::string text, ReadText(storage, path));
  absl::StatusOr<PublishedModel> model = Parse(text);
  HETERO_RETURN_IF_ERROR(model.status()).With(path.native());
  return model;
}

}  // namespace hetero
