#ifndef HETERO_TOOLS_MODEL_PROBE_PROBED_MODULE_H_
#define HETERO_TOOLS_MODEL_PROBE_PROBED_MODULE_H_

// A module on one of its tensor-parallel ranks, made of stages of a layer each, so that what passes
// between layers can be seen.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/ckpt/checkpoint_tensor.h"
#include "hetero/comm/communicator.h"
#include "hetero/grid/module_grid.h"
#include "hetero/models/blocks/context.h"
#include "hetero/models/nemotron/hybrid.pb.h"
#include "hetero/models/radio/radio.pb.h"
#include "hetero/params/box_map.h"
#include "hetero/params/parameter_spec.h"
#include "hetero/params/parameter_store.h"
#include "hetero/params/table.h"
#include "hetero/tensor/device.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/stream.h"
#include "hetero/tools/model_probe/inputs.h"

namespace hetero {

// Where a module is made. All of it outlives the module.
struct ModulePlace {
  const Grid& grid;  // one lane, one pipeline stage
  GlobalRank rank;
  CommunicatorFactory& factory;
  Device device;
  DType storage = DType::kF32;
  MemoryLedger& ledger;
};

class ProbedModule {
 public:
  virtual ~ProbedModule() = default;

  // Leaves what it keeps for Backward, and the outputs, in the context's activations.
  virtual absl::Status Forward(ModuleContext& context) = 0;
  virtual absl::Status Backward(ModuleContext& context) = 0;

  // This rank's part of each layer's output, "layer.0" and on, in order.
  const std::vector<CheckpointTensor>& layers() const { return layers_; }
  // This rank's part of what comes out at the end, and the loss.
  const std::vector<CheckpointTensor>& outputs() const { return outputs_; }
  double loss() const { return loss_; }

  // The stages' parameters, in order of forward.
  const std::vector<std::unique_ptr<ParameterStore>>& stores() const { return stores_; }
  // How they lie in the files of the public model, in the same order.
  const std::vector<BoxMap>& names() const { return names_; }

  // Of a parameter that is two here, on the first stage and on the last, and one in the files: the
  // second has no name there. All three do nothing where no parameter is.
  bool IsTwin(const ParameterSpec& spec) const { return twin_ != nullptr && &spec == twin_->spec; }
  // Gives the twin the value of the first, which was loaded.
  absl::Status CopyToTwin(Stream& stream);
  // Adds the gradient of the twin to that of the first, once ranks have summed both.
  absl::Status AddGradientOfTwin(Stream& stream);

 protected:
  // Adds the parameters of a stage. `table`: of all stages.
  absl::StatusOr<ParameterStore*> AddStage(const ParameterTable& table, const ModulePlace& place,
                                           int stage, int num_stages);

  // [num_tokens, width], of which this rank has the rows of its tokens.
  void AddLayer(const TensorView& own_rows, int64_t num_tokens, const Grid& grid, GlobalRank rank);

  void AddOutput(CheckpointTensor output) { outputs_.push_back(std::move(output)); }
  // "loss", which one rank tells.
  void AddLoss(double loss, bool tells);

  // `twin`, on the last stage, is the parameter `first` of the files.
  void SetTwin(Parameter& first, Parameter& twin) {
    with_twin_ = &first;
    twin_ = &twin;
  }

  std::vector<BoxMap> names_;

 private:
  Parameter* with_twin_ = nullptr;
  Parameter* twin_ = nullptr;
  std::vector<std::unique_ptr<ParameterStore>> stores_;
  std::vector<CheckpointTensor> layers_;
  std::vector<CheckpointTensor> outputs_;
  double loss_ = 0;
};

// Outputs "logits" [tokens, vocabulary] and the mean loss of the tokens that count.
// `inputs` outlives the module. Errors: those of MakeHybridModel and of its tables.
absl::StatusOr<std::unique_ptr<ProbedModule>> MakeLanguageProbe(
    const proto::HybridLanguageModel& model, const TokenInputs& inputs, const ModulePlace& place);

// Outputs "features" [patches, hidden] and the loss of ImageInputs.
// Errors: those of RadioEncoder::Create; INVALID_ARGUMENT rules that fields break.
absl::StatusOr<std::unique_ptr<ProbedModule>> MakeRadioProbe(const proto::RadioEncoder& model,
                                                             const ImageInputs& inputs,
                                                             const ModulePlace& place);

}  // namespace hetero

#endif  // HETERO_TOOLS_MODEL_PROBE_PROBED_MODULE_H_
