#ifndef HETERO_MODELS_REGISTRY_H_
#define HETERO_MODELS_REGISTRY_H_

// From a configuration's message to the model it describes. Whoever runs models holds a registry
// and never names one.
//
//   ModelRegistry registry = BuiltInModels();
//   registry.Register<MyModelConfig>(&MakeMyModel);
//   absl::StatusOr<std::unique_ptr<Model>> model = registry.Make(run_config.model());

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/any.pb.h"
#include "hetero/models/stage.h"

namespace hetero {

class ModelRegistry {
 public:
  // The second argument is the type of parameters and activations.
  template <typename Message>
  using Maker = std::function<absl::StatusOr<std::unique_ptr<Model>>(const Message&, DType)>;

  // A later maker of the same message type replaces the earlier.
  template <typename Message>
  void Register(Maker<Message> maker) {
    makers_[Message::descriptor()->full_name()] =
        [maker = std::move(maker)](const google::protobuf::Any& any,
                                   DType storage) -> absl::StatusOr<std::unique_ptr<Model>> {
      Message message;
      if (!any.UnpackTo(&message)) {
        return absl::InvalidArgumentError("model: the packed message is damaged");
      }
      return maker(message, storage);
    };
  }

  // Errors: NOT_FOUND for a type nobody registered, naming those there are; those of the maker.
  absl::StatusOr<std::unique_ptr<Model>> Make(const google::protobuf::Any& any,
                                              DType storage = DType::kF32) const;

 private:
  std::map<std::string, std::function<absl::StatusOr<std::unique_ptr<Model>>(
                            const google::protobuf::Any&, DType)>>
      makers_;
};

// The models of this repository: VisionLanguageModel and HybridLanguageModel.
ModelRegistry BuiltInModels();

}  // namespace hetero

#endif  // HETERO_MODELS_REGISTRY_H_
