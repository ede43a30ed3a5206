#include "hetero/trainer/testing/hooked_run.h"

#include <atomic>
#include <memory>
#include <span>
#include <utility>

#include "absl/status/statusor.h"
#include "hetero/models/registry.h"
#include "hetero/models/vlm/vlm.h"

namespace hetero {
namespace {

class HookedStage : public Stage {
 public:
  HookedStage(std::unique_ptr<Stage> stage, StageHooks hooks)
      : stage_(std::move(stage)), hooks_(std::move(hooks)) {}

  absl::StatusOr<TensorView> Forward(ModuleContext& context, int slot,
                                     const StageInput& input) override {
    StageInput changed = input;
    if (hooks_.before_forward) {
      if (absl::Status status = hooks_.before_forward(num_forwards_++, changed); !status.ok()) {
        return status;
      }
    }
    return stage_->Forward(context, slot, changed);
  }
  absl::Status Backward(ModuleContext& context, int slot, TensorView d_output,
                        const StageInputGradients& d_input) override {
    if (hooks_.before_backward) hooks_.before_backward(num_backwards_++, d_output);
    return stage_->Backward(context, slot, d_output, d_input);
  }
  absl::Status FinishStep(ConstTensorView decisions, Stream& stream) override {
    return stage_->FinishStep(decisions, stream);
  }
  int num_totals() const override { return stage_->num_totals(); }
  absl::Status TakeTotals(const TensorView& totals, Stream& stream) override {
    return stage_->TakeTotals(totals, stream);
  }
  bool exceeded_prediction() const override { return stage_->exceeded_prediction(); }

 private:
  std::unique_ptr<Stage> stage_;
  StageHooks hooks_;
  int num_forwards_ = 0;
  int num_backwards_ = 0;
};

class HookedModel : public Model {
 public:
  HookedModel(std::unique_ptr<Model> model, std::string_view module, StageHooks hooks)
      : model_(std::move(model)), module_(module), hooks_(std::move(hooks)) {}

  const ModelGraph& graph() const override { return model_->graph(); }
  int64_t RowsOnEdge(int edge, const SampleFacts& sample) const override {
    return model_->RowsOnEdge(edge, sample);
  }
  int64_t RowsBetweenStages(std::string_view module, const SampleFacts& sample) const override {
    return model_->RowsBetweenStages(module, sample);
  }
  Flops FlopsOf(std::string_view module, const SampleFacts& sample) const override {
    return model_->FlopsOf(module, sample);
  }
  absl::StatusOr<ParameterTable> MakeTable(std::string_view module,
                                           const ShardSpec& shard) const override {
    return model_->MakeTable(module, shard);
  }
  absl::StatusOr<std::unique_ptr<Stage>> MakeStage(std::string_view module, StagePlace place,
                                                   const StageResources& resources) const override {
    absl::StatusOr<std::unique_ptr<Stage>> stage = model_->MakeStage(module, place, resources);
    const bool with_data = resources.device.kind != DeviceKind::kShapeOnly;
    if (!stage.ok() || module != module_ || !with_data || taken_.exchange(true)) return stage;
    if (hooks_.on_made) hooks_.on_made(resources.parameters);
    return std::make_unique<HookedStage>(*std::move(stage), hooks_);
  }

 private:
  std::unique_ptr<Model> model_;
  const std::string module_;
  const StageHooks hooks_;
  mutable std::atomic<bool> taken_ = false;
};

}  // namespace

ModelRegistry HookedModels(std::string_view module, const StageHooks& hooks) {
  ModelRegistry models;
  models.Register<proto::VisionLanguageModel>(
      "language",
      [module = std::string(module), hooks](const proto::VisionLanguageModel& config, DType storage)
          -> absl::StatusOr<std::unique_ptr<Model>> {
        absl::StatusOr<std::unique_ptr<Model>> model = MakeVisionLanguageModel(config, storage);
        if (!model.ok()) return model;
        return std::make_unique<HookedModel>(*std::move(model), module, hooks);
      });
  return models;
}

RecipeRun RunHooked(std::string_view module, const StageHooks& hooks,
                    const std::vector<std::string>& assignments, RecipeRunOptions options) {
  options.models = HookedModels(module, hooks);
  return RunConfigured(RecipeConfig("mock_vlm_tiny", assignments), options);
}

}  // namespace hetero
