#ifndef HETERO_TRAINER_STEP_TESTING_TAGGING_MODEL_H_
#define HETERO_TRAINER_STEP_TESTING_TAGGING_MODEL_H_

// Stages without numbers of their own: they tag what they send and know what they must receive,
// whatever shares a module's lanes.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/comm/communicator.h"
#include "hetero/data/batch.h"
#include "hetero/data/mock_source.h"
#include "hetero/grid/layout.h"
#include "hetero/grid/token_shard.h"
#include "hetero/models/stage.h"
#include "hetero/params/table.h"

namespace hetero {

inline constexpr int64_t kSequence = 10;
inline constexpr int64_t kImageTokens = 4;  // of an image, each of 4 patches
inline constexpr int64_t kNumImages = 2;    // of a sample with images
inline constexpr int64_t kWidth = 3;
inline constexpr int64_t kMicrobatch = 12;  // samples of all lanes
inline constexpr int kNumMicrobatches = 3;

inline const data::MockOptions kMock = {.seed = 3,
                                        .sequence_length = kSequence,
                                        .image_tokens = kNumImages * kImageTokens,
                                        .vocabulary_size = 64,
                                        .image_id = 63,
                                        .image_percent = 60,
                                        .num_tiles = kNumImages,
                                        .patch_size = 2};

// What the row of each of a sample's placeholders holds: the first number of its first patch.
inline std::vector<float> TagsOf(int64_t sample) {
  const auto source = data::MockSource::Create(kMock).value();
  data::MediaBatch media;
  const int64_t width = source->feature_width(0);
  media.Clear(width);
  media.BeginSample();
  CHECK_OK(source->ReadMedia(sample, 0, media));
  std::vector<float> tags;
  for (size_t i = 0; i < media.features.size(); i += 4 * width) tags.push_back(media.features[i]);
  return tags;
}

// Rows [rows of the shard, kWidth] that hold `of_row` of each of the shard's and zeros behind them.
template <typename OfRow>
void WriteShard(const TokenShard& shard, const TensorView& rows, OfRow of_row) {
  const std::span<float> values(rows.data<float>(), static_cast<size_t>(rows.num_elements()));
  std::ranges::fill(values, 0.0f);
  for (int64_t i = 0; i < shard.num_owned(); ++i) {
    std::ranges::fill(values.subspan(i * kWidth, kWidth), of_row(shard.begin() + i));
  }
}

template <typename OfRow>
absl::Status ExpectShard(std::string_view what, const TokenShard& shard,
                         const ConstTensorView& rows, OfRow of_row) {
  std::vector<float> expected(shard.rows() * kWidth);
  WriteShard(shard, TensorView(std::span(expected), {shard.rows(), kWidth}), of_row);
  if (std::ranges::equal(rows.values<float>(), expected)) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(what, " are others than expected: ", rows.ToString(),
                                          " for ", shard.num_owned(), " of ", shard.rows()));
}

// One that knows its place among the ranks of its lane.
class TaggingStage : public Stage {
 public:
  TaggingStage(StagePlace place, Communicator* tensor_parallel)
      : place_(place), tensor_parallel_(tensor_parallel) {}

  absl::Status FinishStep(ConstTensorView, Stream&) override { return absl::OkStatus(); }
  absl::Status TakeTotals(const TensorView&, Stream&) override { return absl::OkStatus(); }

 protected:
  TokenShard Shard(int64_t num_rows) const {
    if (tensor_parallel_ == nullptr) return {.num_tokens = num_rows};
    return {.num_tokens = num_rows,
            .size = tensor_parallel_->size(),
            .rank = tensor_parallel_->rank().value()};
  }

  const StagePlace place_;
  Communicator* const tensor_parallel_;
};

// Between its stages, of each image, its tokens' rows and one more.
class VisionStage final : public TaggingStage {
 public:
  using TaggingStage::TaggingStage;

  absl::StatusOr<TensorView> Forward(ModuleContext& context, int slot,
                                     const StageInput& input) override {
    const ModalityBatch& images = input.modalities[0];
    const int64_t num_images = std::ssize(images.sizes);
    const TokenShard between = Shard(num_images * (kImageTokens + 1));
    std::vector<float> tags(num_images * kImageTokens);
    if (place_.first()) {
      if (!context.stream.shape_only()) {
        const std::span<const float> features = images.features.values<float>();
        for (size_t i = 0; i < tags.size(); ++i) tags[i] = features[i * 4 * images.features.dim(1)];
      }
    } else {
      if (input.previous_stage.dim(0) != between.rows()) {
        return absl::InternalError(input.previous_stage.ToString());
      }
      HETERO_ASSIGN_OR_RETURN(
          const TensorView all,
          context.activations.Allocate(DType::kF32, {between.padded_tokens(), kWidth}));
      if (tensor_parallel_ != nullptr) {
        HETERO_RETURN_IF_ERROR(
            tensor_parallel_->AllGather(input.previous_stage, all, context.stream, "vision.rows"));
      } else if (!context.stream.shape_only()) {
        std::ranges::copy(input.previous_stage.values<float>(), all.data<float>());
      }
      for (size_t i = 0; !context.stream.shape_only() && i < tags.size(); ++i) {
        tags[i] = all.values<float>()[(i + i / kImageTokens) * kWidth];
      }
    }
    const TokenShard out = place_.last() ? Shard(std::ssize(tags)) : between;
    HETERO_ASSIGN_OR_RETURN(const TensorView rows,
                            context.activations.Allocate(DType::kF32, {out.rows(), kWidth}));
    if (!context.stream.shape_only()) {
      WriteShard(out, rows, [&](int64_t row) {
        if (place_.last()) return tags[row];
        const int64_t image = row / (kImageTokens + 1);
        const int64_t token = row % (kImageTokens + 1);
        return token < kImageTokens ? tags[image * kImageTokens + token] : -7.0f;
      });
    }
    kept_.resize(std::max<size_t>(kept_.size(), slot + 1));
    kept_[slot] = {std::move(tags), out, between};
    return rows;
  }

  absl::Status Backward(ModuleContext& context, int slot, TensorView d_output,
                        const StageInputGradients& d_input) override {
    if (context.stream.shape_only()) return absl::OkStatus();
    const Kept& kept = kept_[slot];
    HETERO_RETURN_IF_ERROR(ExpectShard("gradients", kept.out, d_output, [&](int64_t row) {
      return place_.last() ? 2 * kept.tags[row] : static_cast<float>(5 * row + 1);
    }));
    if (place_.first()) return absl::OkStatus();
    WriteShard(kept.between, d_input.previous_stage,
               [](int64_t row) { return static_cast<float>(5 * row + 1); });
    return absl::OkStatus();
  }

 private:
  struct Kept {
    std::vector<float> tags;
    TokenShard out;
    TokenShard between;
  };
  std::vector<Kept> kept_;  // by slot
};

class LanguageStage final : public TaggingStage {
 public:
  LanguageStage(StagePlace place, Communicator* tensor_parallel, int64_t lane, int64_t num_lanes)
      : TaggingStage(place, tensor_parallel), lane_(lane), num_samples_(kMicrobatch / num_lanes) {}

  absl::StatusOr<TensorView> Forward(ModuleContext& context, int slot,
                                     const StageInput& input) override {
    const TokenShard shard = Shard(num_samples_ * kSequence);
    const bool shape_only = context.stream.shape_only();
    kept_.resize(std::max<size_t>(kept_.size(), slot + 1));
    if (place_.first()) {
      const ConstTensorView rows = input.edges[0];
      const ConstTensorView positions = input.tokens->modality_positions[0];
      if (rows.dim(0) != positions.dim(0)) {
        return absl::InternalError(absl::StrCat(rows.ToString(), " for ", positions.ToString()));
      }
      if (!shape_only) {
        HETERO_RETURN_IF_ERROR(CheckRows(shard, rows, positions.values<int32_t>()));
        const std::span<const float> values = rows.values<float>();
        kept_[slot].assign(values.begin(), values.end());
      }
    } else if (!shape_only) {
      HETERO_RETURN_IF_ERROR(ExpectShard("rows of tokens", shard, input.previous_stage, Token));
    }
    ++num_forwards_;
    if (place_.last()) return TensorView();
    HETERO_ASSIGN_OR_RETURN(const TensorView rows,
                            context.activations.Allocate(DType::kF32, {shard.rows(), kWidth}));
    if (!shape_only) WriteShard(shard, rows, Token);
    return rows;
  }

  absl::Status Backward(ModuleContext& context, int slot, TensorView d_output,
                        const StageInputGradients& d_input) override {
    if (context.stream.shape_only()) return absl::OkStatus();
    const TokenShard shard = Shard(num_samples_ * kSequence);
    if (!place_.last()) {
      HETERO_RETURN_IF_ERROR(ExpectShard("gradients of tokens", shard, d_output, Token));
    }
    if (!place_.first()) {
      WriteShard(shard, d_input.previous_stage, Token);
      return absl::OkStatus();
    }
    std::ranges::transform(kept_[slot], d_input.edges[0].data<float>(),
                           [](float value) { return 2 * value; });
    return absl::OkStatus();
  }

 private:
  static float Token(int64_t token) { return static_cast<float>(token + 1); }

  // Every placeholder that this rank owns has its row, in order.
  absl::Status CheckRows(const TokenShard& shard, const ConstTensorView& rows,
                         std::span<const int32_t> positions) const {
    std::vector<float> expected;
    std::vector<int32_t> owned;
    for (int64_t i = 0; i < num_samples_; ++i) {
      const std::vector<float> tags =
          TagsOf(num_forwards_ * kMicrobatch + lane_ * num_samples_ + i);
      for (size_t k = 0; k < tags.size(); ++k) {
        const int64_t token = i * kSequence + static_cast<int64_t>(k);
        if (shard.OwnerOf(token) != shard.rank) continue;
        owned.push_back(static_cast<int32_t>(token - shard.begin()));
        expected.insert(expected.end(), kWidth, tags[k]);
      }
    }
    if (std::ranges::equal(positions, owned) &&
        std::ranges::equal(rows.values<float>(), expected)) {
      return absl::OkStatus();
    }
    return absl::InternalError(absl::StrCat(
        "not the rows of the rank's placeholders: ", rows.ToString(), " for ", owned.size()));
  }

  const int64_t lane_;
  const int64_t num_samples_;
  int64_t num_forwards_ = 0;              // microbatches come in order
  std::vector<std::vector<float>> kept_;  // by slot: what came over the edge
};

// As rank `rank` makes it.
class TaggingModel final : public Model {
 public:
  TaggingModel(const Layout& layout, GlobalRank rank) : layout_(layout), rank_(rank) {
    graph_ = {
        .vocabulary_size = kMock.vocabulary_size,
        .modalities = {{.name = "image",
                        .placeholder_id = kMock.image_id,
                        .form = ImageForm{.patch_size = kMock.patch_size, .patches_per_token = 4}}},
        .modules = {{.name = "vision", .modalities = {0}, .hidden_width = kWidth},
                    {.name = "language", .owns_samples = true, .hidden_width = kWidth}},
        .edges = {{.source = "vision", .destination = "language", .width = kWidth}}};
  }

  const ModelGraph& graph() const override { return graph_; }
  int64_t RowsOnEdge(int, const SampleFacts& sample) const override {
    return sample.modalities[0].num_tokens;
  }
  int64_t RowsBetweenStages(std::string_view module, const SampleFacts& sample) const override {
    return module == "language" ? sample.row_length
                                : std::ssize(sample.modalities[0].sizes) * (kImageTokens + 1);
  }
  Flops FlopsOf(std::string_view, const SampleFacts& sample) const override {
    return {.training = static_cast<double>(sample.modalities[0].num_tokens)};
  }
  absl::StatusOr<ParameterTable> MakeTable(std::string_view module,
                                           const ShardSpec& shard) const override {
    std::vector<ParameterSpec> specs;
    for (int stage = 0; stage < shard.pp.size; ++stage) {
      specs.push_back({.name = absl::StrCat(module, stage), .shape = {1}, .stage = stage});
    }
    return ParameterTable::Make(std::move(specs));
  }
  absl::StatusOr<std::unique_ptr<Stage>> MakeStage(std::string_view module, StagePlace place,
                                                   const StageResources& resources) const override {
    Communicator* const tensor_parallel = resources.communicators.Of(Family::kTp);
    if (module == "vision") return std::make_unique<VisionStage>(place, tensor_parallel);
    const Grid& grid = *layout_.Find("language");
    return std::make_unique<LanguageStage>(place, tensor_parallel, grid.LaneOf(rank_).value(),
                                           grid.num_lanes());
  }

 private:
  const Layout& layout_;
  const GlobalRank rank_;
  ModelGraph graph_;
};

}  // namespace hetero

#endif  // HETERO_TRAINER_STEP_TESTING_TAGGING_MODEL_H_
