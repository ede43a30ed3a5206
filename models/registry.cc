#include "hetero/models/registry.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "hetero/models/avlm/avlm.h"
#include "hetero/models/nemotron/hybrid_model.h"
#include "hetero/models/vlm/vlm.h"

namespace hetero {

const ModelRegistry::Entry* ModelRegistry::Find(const google::protobuf::Any& any) const {
  const std::string& url = any.type_url();
  const auto found = entries_.find(url.substr(url.rfind('/') + 1));
  return found == entries_.end() ? nullptr : &found->second;
}

std::string ModelRegistry::Unknown(const google::protobuf::Any& any) const {
  const std::string& url = any.type_url();
  return absl::StrCat("no model of type \"", url.substr(url.rfind('/') + 1), "\"; known are ",
                      absl::StrJoin(entries_, ", ", [](std::string* out, const auto& entry) {
                        absl::StrAppend(out, entry.first);
                      }));
}

std::vector<Violation> ModelRegistry::Validate(const google::protobuf::Any& any,
                                               std::string_view path, bool on_gpu) const {
  if (const Entry* entry = Find(any)) return entry->validate(any, path, on_gpu);
  return {Refuse(path, absl::StrCat(": ", Unknown(any)))};
}

std::string ModelRegistry::SampleOwner(const google::protobuf::Any& any) const {
  const Entry* entry = Find(any);
  return entry == nullptr ? "" : entry->sample_owner;
}

absl::StatusOr<std::unique_ptr<Model>> ModelRegistry::Make(const google::protobuf::Any& any,
                                                           DType storage) const {
  if (const Entry* entry = Find(any)) return entry->make(any, storage);
  return absl::NotFoundError(absl::StrCat("model: ", Unknown(any)));
}

ModelRegistry BuiltInModels() {
  ModelRegistry registry;
  registry.Register<proto::HybridLanguageModel>(
      kLanguageModule, &MakeHybridModel,
      [](const proto::HybridLanguageModel& config, std::string_view path, Violations& violations) {
        CheckRelations(config, path, violations);
      });
  registry.Register<proto::VisionLanguageModel>(
      kLanguageModule, &MakeVisionLanguageModel,
      [](const proto::VisionLanguageModel& config, std::string_view path, Violations& violations) {
        CheckRelations(config, path, violations);
      });
  registry.Register<proto::AudioVisionLanguageModel>(
      kLanguageModule, &MakeAudioVisionLanguageModel,
      [](const proto::AudioVisionLanguageModel& config, std::string_view path,
         Violations& violations) { CheckRelations(config, path, violations); });
  return registry;
}

}  // namespace hetero
