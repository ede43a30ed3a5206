#ifndef HETERO_MODELS_REGISTRY_H_
#define HETERO_MODELS_REGISTRY_H_

// From a configuration's message to the model it describes. Whoever runs models holds a registry
// and never names one.
//
//   ModelRegistry registry = BuiltInModels();
//   registry.Register<MyModelConfig>("language", &MakeMyModel, &CheckMyRelations);
//   std::vector<Violation> violations = registry.Validate(run_config.model(), "model");
//   absl::StatusOr<std::unique_ptr<Model>> model = registry.Make(run_config.model());

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/any.pb.h"
#include "hetero/base/config/field_rules.h"
#include "hetero/base/violation.h"
#include "hetero/models/stage.h"

namespace hetero {

class ModelRegistry {
 public:
  // The second argument is the type of parameters and activations.
  template <typename Message>
  using Maker = std::function<absl::StatusOr<std::unique_ptr<Model>>(const Message&, DType)>;

  // Adds what the fields of a message break between them (base/violation.h).
  template <typename Message>
  using Relations = std::function<void(const Message&, std::string_view path, Violations&)>;

  // `sample_owner`: what the module that owns the samples is called in graphs of these models. A
  // later maker of the same message type replaces the earlier; without relations of its own it is
  // held to the earlier's.
  template <typename Message>
  void Register(std::string_view sample_owner, Maker<Message> maker,
                Relations<Message> relations = nullptr) {
    Entry& entry = entries_[Message::descriptor()->full_name()];
    entry.sample_owner = sample_owner;
    entry.make = [maker = std::move(maker)](
                     const google::protobuf::Any& any,
                     DType storage) -> absl::StatusOr<std::unique_ptr<Model>> {
      Message message;
      if (!any.UnpackTo(&message)) {
        return absl::InvalidArgumentError("model: the packed message is damaged");
      }
      return maker(message, storage);
    };
    if (entry.validate != nullptr && relations == nullptr) return;
    entry.validate = [relations = std::move(relations)](const google::protobuf::Any& any,
                                                        std::string_view path, bool on_gpu) {
      Message message;
      Violations violations;
      if (!any.UnpackTo(&message)) {
        violations.Add(Refuse(path, " holds damaged bytes of its message"));
        return violations.Take();
      }
      violations.Add(CheckFieldRules(message, path, on_gpu));
      if (relations != nullptr) relations(message, path, violations);
      return violations.Take();
    };
  }

  // Every rule that the message in `any` breaks, its fields named below `path`; a type nobody
  // registered is one. `on_gpu`: so are sizes that a GPU's kernels do not take. Pure.
  std::vector<Violation> Validate(const google::protobuf::Any& any, std::string_view path,
                                  bool on_gpu = false) const;

  // The name of the module that owns the samples, whether or not the message is sound; empty for a
  // type nobody registered.
  std::string SampleOwner(const google::protobuf::Any& any) const;

  // Errors: NOT_FOUND for a type nobody registered, naming those there are; those of the maker.
  absl::StatusOr<std::unique_ptr<Model>> Make(const google::protobuf::Any& any,
                                              DType storage = DType::kF32) const;

 private:
  struct Entry {
    std::string sample_owner;
    std::function<absl::StatusOr<std::unique_ptr<Model>>(const google::protobuf::Any&, DType)> make;
    std::function<std::vector<Violation>(const google::protobuf::Any&, std::string_view, bool)>
        validate;
  };

  // nullptr for a type nobody registered.
  const Entry* Find(const google::protobuf::Any& any) const;
  // "no model of type "x"; known are y, z"
  std::string Unknown(const google::protobuf::Any& any) const;

  std::map<std::string, Entry> entries_;
};

// The models of this repository: AudioVisionLanguageModel, HybridLanguageModel and
// VisionLanguageModel.
ModelRegistry BuiltInModels();

}  // namespace hetero

#endif  // HETERO_MODELS_REGISTRY_H_
