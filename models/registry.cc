#include "hetero/models/registry.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "hetero/models/nemotron/hybrid_model.h"
#include "hetero/models/vlm/vlm.h"

namespace hetero {

absl::StatusOr<std::unique_ptr<Model>> ModelRegistry::Make(const google::protobuf::Any& any,
                                                           DType storage) const {
  const std::string& url = any.type_url();
  const std::string type = url.substr(url.rfind('/') + 1);
  const auto found = makers_.find(type);
  if (found != makers_.end()) return found->second(any, storage);
  std::vector<std::string> known;
  for (const auto& [name, maker] : makers_) known.push_back(name);
  return absl::NotFoundError(absl::StrCat("model: no model of type \"", type, "\"; known are ",
                                          absl::StrJoin(known, ", ")));
}

ModelRegistry BuiltInModels() {
  ModelRegistry registry;
  registry.Register<proto::HybridLanguageModel>(&MakeHybridModel);
  registry.Register<proto::VisionLanguageModel>(&MakeVisionLanguageModel);
  return registry;
}

}  // namespace hetero
