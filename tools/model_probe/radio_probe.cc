#include <cstddef>
#include <span>

#include "absl/strings/str_cat.h"
#include "hetero/base/config/field_rules.h"
#include "hetero/base/status.h"
#include "hetero/base/violation.h"
#include "hetero/grid/token_shard.h"
#include "hetero/models/radio/encoder.h"
#include "hetero/models/radio/radio_names.h"
#include "hetero/models/vlm/vision_config.h"
#include "hetero/tools/model_probe/probed_module.h"
#include "hetero/trainer/step/communicators.h"

namespace hetero {
namespace {

// Rows of patches, image after image, features in channel, row, column order.
HostMatrix Patches(const ImageInputs& inputs, const ImageLayout& layout, DType dtype) {
  const int64_t side = layout.patch_size;
  HostMatrix patches(dtype, layout.num_patches(), 3 * side * side);
  int64_t patch = 0;
  for (int64_t i = 0; i < layout.num_images(); ++i) {
    const int64_t height = inputs.sizes[i].height, width = inputs.sizes[i].width;
    for (int64_t row = 0; row < layout.rows(i); ++row) {
      for (int64_t column = 0; column < layout.columns(i); ++column, ++patch) {
        for (int64_t feature = 0; feature < 3 * side * side; ++feature) {
          const int64_t channel = feature / (side * side), y = row * side + feature / side % side,
                        x = column * side + feature % side;
          patches.Set(patch, feature, inputs.pixels[i][(channel * height + y) * width + x]);
        }
      }
    }
  }
  return patches;
}

// Which patch is each quarter of a row of features (ShufflePixels).
std::vector<int64_t> PatchesOfFeatures(const ImageLayout& layout) {
  std::vector<int64_t> patches;
  int64_t first = 0;
  for (int64_t i = 0; i < layout.num_images(); ++i) {
    const int64_t rows = layout.rows(i), columns = layout.columns(i);
    for (int64_t row = 0; row < rows; row += 2) {
      for (int64_t column = 0; column < columns; column += 2) {
        for (const int64_t a : {0, 1}) {
          for (const int64_t b : {0, 1}) {
            patches.push_back(first + (row + a) * columns + column + b);
          }
        }
      }
    }
    first += rows * columns;
  }
  return patches;
}

class RadioProbe : public ProbedModule {
 public:
  static absl::StatusOr<std::unique_ptr<ProbedModule>> Create(const proto::RadioEncoder& message,
                                                              const ImageInputs& inputs,
                                                              const ModulePlace& place) {
    Violations violations;
    violations.Add(CheckFieldRules(message, ""));
    CheckRelations(message, "config.json", violations);
    HETERO_RETURN_IF_ERROR(ViolationsError(violations.list()));
    const RadioConfig config = RadioConfigFromProto(message, place.storage);
    std::unique_ptr<RadioProbe> probe(new RadioProbe(config, inputs, place));
    HETERO_ASSIGN_OR_RETURN(probe->names_, RadioNames(config, NameScheme::kHuggingFace,
                                                      {.name = "", .key = "radio_model.model."}));
    const int num_stages = static_cast<int>(config.num_layers);
    HETERO_ASSIGN_OR_RETURN(const ParameterTable table,
                            ParameterTable::Make(RadioEncoder::Parameters(config, "", num_stages)));
    HETERO_ASSIGN_OR_RETURN(probe->communicators_,
                            MakeLayerCommunicators(place.grid, table, place.rank, place.factory));
    probe->tensor_parallel_ = probe->communicators_.by_family.Of(Family::kTp);
    for (int s = 0; s < num_stages; ++s) {
      HETERO_ASSIGN_OR_RETURN(ParameterStore* const parameters,
                              probe->AddStage(table, place, s, num_stages));
      HETERO_ASSIGN_OR_RETURN(
          RadioEncoder stage,
          RadioEncoder::Create(config, "", {.stage = s, .num_stages = num_stages}, *parameters,
                               probe->tensor_parallel_));
      probe->stages_.push_back(std::move(stage));
    }
    probe->saved_.resize(num_stages);
    return probe;
  }

  absl::Status Forward(ModuleContext& context) override {
    const ImageBatch images{.patches = patches_.view(), .sizes = inputs_.sizes};
    ConstTensorView upstream;
    TensorView output;
    for (size_t s = 0; s < stages_.size(); ++s) {
      HETERO_ASSIGN_OR_RETURN(output, stages_[s].Forward(context, images, upstream, saved_[s]));
      if (s + 1 == stages_.size()) break;
      AddLayer(output, layout_.num_tokens(), place_.grid, place_.rank);
      streams_.push_back(output);
      upstream = output;
    }
    AddFeatures(output);
    return AddProduct(output, context.stream);
  }

  absl::Status Backward(ModuleContext& context) override {
    TensorView gradient = d_features_.view();
    for (size_t s = stages_.size(); s-- > 0;) {
      TensorView d_upstream;
      if (s > 0) {
        const TensorView& stream = streams_[s - 1];
        HETERO_ASSIGN_OR_RETURN(d_upstream,
                                context.activations.Allocate(stream.dtype(), stream.dims()));
      }
      HETERO_RETURN_IF_ERROR(stages_[s].Backward(context, saved_[s], gradient, d_upstream));
      gradient = d_upstream;
    }
    return absl::OkStatus();
  }

 private:
  RadioProbe(const RadioConfig& config, const ImageInputs& inputs, const ModulePlace& place)
      : inputs_(inputs),
        place_(place),
        layout_{.sizes = inputs.sizes,
                .patch_size = config.patch_size,
                .num_class_tokens = config.num_class_tokens},
        hidden_size_(config.layer.hidden_size),
        own_{.num_tokens = layout_.num_patches() / 4,
             .size = place.grid.Size(Axis::kTp),
             .rank = place.grid.Coord(place.rank, Axis::kTp)},
        patch_of_(PatchesOfFeatures(layout_)),
        patches_(Patches(inputs, layout_, place.storage)),
        d_features_(place.storage, own_.rows(), 4 * hidden_size_) {
    for (int64_t row = 0; row < own_.num_owned(); ++row) {
      for (int64_t column = 0; column < 4 * hidden_size_; ++column) {
        d_features_.Set(row, column, inputs.d_features[InputPlace(row, column)]);
      }
    }
  }

  // Where of all [patches, hidden] an element of this rank's rows of features lies.
  int64_t InputPlace(int64_t own_row, int64_t column) const {
    const int64_t quarter = 4 * (own_.begin() + own_row) + column / hidden_size_;
    return patch_of_[quarter] * hidden_size_ + column % hidden_size_;
  }

  void AddFeatures(const TensorView& features) {
    CheckpointTensor output{.key = "features",
                            .dtype = features.dtype(),
                            .shape = {layout_.num_patches(), hidden_size_}};
    for (int64_t row = 0; row < own_.num_owned(); ++row) {
      for (int64_t quarter = 0; quarter < 4; ++quarter) {
        const int64_t column = quarter * hidden_size_;
        output.pieces.push_back(
            {.box = {{InputPlace(row, column) / hidden_size_, 0}, {1, hidden_size_}},
             .local = features.Rows(row, 1).Columns(column, hidden_size_)});
      }
    }
    AddOutput(std::move(output));
  }

  absl::Status AddProduct(const TensorView& features, Stream& stream) {
    double loss = 0;
    for (int64_t row = 0; row < own_.num_owned() && !stream.shape_only(); ++row) {
      for (int64_t column = 0; column < 4 * hidden_size_; ++column) {
        const int64_t at = row * 4 * hidden_size_ + column;
        const double feature = features.dtype() == DType::kF64
                                   ? features.data<double>()[at]
                                   : static_cast<double>(features.data<float>()[at]);
        loss += feature * inputs_.d_features[InputPlace(row, column)];
      }
    }
    if (tensor_parallel_ != nullptr) {
      const TensorView view(&loss, DType::kF64, {1});
      HETERO_RETURN_IF_ERROR(
          tensor_parallel_->AllReduce(view, view, ReduceOp::kSum, stream, "loss"));
    }
    AddLoss(loss, own_.rank == 0);
    return absl::OkStatus();
  }

  const ImageInputs& inputs_;
  ModulePlace place_;
  ImageLayout layout_;
  int64_t hidden_size_;
  TokenShard own_;  // rows of features
  std::vector<int64_t> patch_of_;
  HostMatrix patches_;
  HostMatrix d_features_;  // of own rows
  LayerCommunicators communicators_;
  Communicator* tensor_parallel_ = nullptr;
  std::vector<RadioEncoder> stages_;
  std::vector<RadioEncoder::Saved> saved_;
  std::vector<TensorView> streams_;  // what each stage but the last returned
};

}  // namespace

absl::StatusOr<std::unique_ptr<ProbedModule>> MakeRadioProbe(const proto::RadioEncoder& model,
                                                             const ImageInputs& inputs,
                                                             const ModulePlace& place) {
  return RadioProbe::Create(model, inputs, place);
}

}  // namespace hetero
