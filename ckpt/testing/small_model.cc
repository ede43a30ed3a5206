#include "hetero/ckpt/testing/small_model.h"

#include <algorithm>
#include <cstddef>
#include <deque>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/ckpt/plan/box.h"
#include "hetero/ckpt/plan/name_map.h"
#include "hetero/params/parameter_spec.h"
#include "hetero/params/shard.h"
#include "hetero/params/state_tensor.h"
#include "hetero/tensor/dtype.h"

namespace hetero {
namespace {

constexpr int64_t kEncoderLayers = 2;

// What of a branch there is to divide, and how it lies in files.
struct Branch {
  std::string name;
  int num_layers = 1;
  bool tiny = false;
  std::vector<ParameterSpec> specs;  // `stage` is the layer, for the layout to divide
  std::vector<BoxMap> boxes;
};

void AddWhole(const ParameterSpec& spec, std::string key, Branch& branch) {
  branch.boxes.push_back({.name = spec.name,
                          .own = WholeBox(spec.shape),
                          .key = std::move(key),
                          .key_shape = spec.shape,
                          .stored = WholeBox(spec.shape)});
}

// Row ranges of `spec` that are tensors of their own.
void AddSplit(const ParameterSpec& spec, const std::string& key,
              const std::vector<std::pair<std::string, int64_t>>& parts, Branch& branch) {
  int64_t begin = 0;
  for (const auto& [suffix, rows] : parts) {
    std::vector<int64_t> shape = spec.shape;
    shape[0] = rows;
    Box own = WholeBox(shape);
    own.offset[0] = begin;
    begin += rows;
    branch.boxes.push_back({.name = spec.name,
                            .own = std::move(own),
                            .key = absl::StrCat(key, ".", suffix),
                            .key_shape = shape,
                            .stored = WholeBox(shape)});
  }
}

Branch Language(SmallModelSize size) {
  const DimSharding tp{.axis = ShardAxis::kTp};
  const DimSharding ep{.axis = ShardAxis::kEp};
  const DimSharding expt_tp{.axis = ShardAxis::kExptTp};
  const bool tiny = size == SmallModelSize::kTiny;
  Branch branch{.name = "language", .num_layers = tiny ? 2 : 4, .tiny = tiny};
  const auto add = [&](ParameterSpec spec) -> const ParameterSpec& {
    return branch.specs.emplace_back(std::move(spec));
  };
  const auto key = [](std::string_view rest) { return absl::StrCat("language_model.", rest); };
  // 11 rows in tiles of 2: the last ranks have fewer, or none.
  AddWhole(add({.name = "embedding",
                .shape = {11, 8},
                .storage = DType::kBF16,
                .dims = {{.axis = ShardAxis::kTp, .tile = 2}, {}}}),
           key("embedding.word_embeddings.weight"), branch);
  for (int layer = 0; layer < branch.num_layers; ++layer) {
    const std::string prefix = absl::StrCat("decoder.layers.", layer, ".");
    const auto in_layer = [&](std::string_view name) { return absl::StrCat(prefix, name); };
    AddWhole(add({.name = in_layer("norm"), .shape = {8}, .storage = DType::kBF16, .stage = layer}),
             key(in_layer("norm.weight")), branch);
    if (layer % 2 == 0) {
      DimSharding rows{.axis = ShardAxis::kTp,
                       .blocks = {{.size = 8}, {.size = 8}, {.size = 4}, {.size = 4}, {.size = 4}}};
      AddSplit(add({.name = in_layer("in_proj"),
                    .shape = {28, 8},
                    .storage = DType::kBF16,
                    .dims = {rows, {}},
                    .stage = layer}),
               key(in_layer("mixer.in_proj.weight")),
               {{"z", 8}, {"x", 8}, {"B", 4}, {"C", 4}, {"dt", 4}}, branch);
      AddWhole(add({.name = in_layer("out_proj"),
                    .shape = {8, 8},
                    .storage = DType::kBF16,
                    .dims = {{}, tp},
                    .stage = layer}),
               key(in_layer("mixer.out_proj.weight")), branch);
    } else {
      // Two groups of keys and values, which ranks share when there are more of them.
      const DimSharding groups{
          .axis = ShardAxis::kTp,
          .blocks = {{.size = 4}, {.size = 2, .whole = true}, {.size = 2, .whole = true}},
          .units = 2};
      AddWhole(add({.name = in_layer("qkv"),
                    .shape = {16, 8},
                    .storage = DType::kBF16,
                    .dims = {groups, {}},
                    .stage = layer}),
               key(in_layer("self_attention.linear_qkv.weight")), branch);
      AddWhole(add({.name = in_layer("experts.fc1"),
                    .shape = {4, 6, 8},
                    .storage = DType::kBF16,
                    .dims = {ep, expt_tp, {}},
                    .gradient_group = GradientGroup::kExpert,
                    .stage = layer}),
               key(in_layer("mlp.experts.experts.linear_fc1.weight")), branch);
      AddWhole(add({.name = in_layer("experts.fc2"),
                    .shape = {4, 8, 6},
                    .storage = DType::kBF16,
                    .dims = {ep, {}, expt_tp},
                    .gradient_group = GradientGroup::kExpert,
                    .stage = layer}),
               key(in_layer("mlp.experts.experts.linear_fc2.weight")), branch);
      AddWhole(add({.name = in_layer("expert_bias"), .shape = {4}, .stage = layer}),
               key(in_layer("mlp.router.expert_bias")), branch);
    }
  }
  return branch;
}

// Layers are stacked in files.
Branch Encoder(SmallModelSize size) {
  Branch branch{.name = "radio_encoder", .tiny = size == SmallModelSize::kTiny};
  const auto add = [&](std::string_view name, int64_t layer, std::vector<int64_t> shape,
                       std::vector<DimSharding> dims) {
    const ParameterSpec& spec =
        branch.specs.emplace_back(ParameterSpec{.name = absl::StrCat("blocks.", layer, ".", name),
                                                .shape = std::move(shape),
                                                .dims = std::move(dims)});
    Box stored = WholeBox(spec.shape);
    stored.offset.insert(stored.offset.begin(), layer);
    stored.size.insert(stored.size.begin(), 1);
    std::vector<int64_t> stacked = spec.shape;
    stacked.insert(stacked.begin(), kEncoderLayers);
    branch.boxes.push_back(
        {.name = spec.name,
         .own = WholeBox(spec.shape),
         .key = absl::StrCat("modality_submodules.radio_encoder.decoder.layers.", name),
         .key_shape = std::move(stacked),
         .stored = std::move(stored)});
  };
  const DimSharding tp{.axis = ShardAxis::kTp};
  for (int64_t layer = 0; layer < kEncoderLayers; ++layer) {
    add("self_attention.linear_qkv.weight", layer, {12, 4}, {tp, {}});
    add("self_attention.linear_proj.weight", layer, {4, 4}, {{}, tp});
    add("norm.weight", layer, {4}, {});
  }
  return branch;
}

// Whether files hold moments of the parameter.
bool HasMoments(const Branch& branch, const ParameterSpec& spec) {
  return !branch.tiny ||
         (branch.name == "language" && spec.name != "embedding" && spec.shape.size() > 1);
}

}  // namespace

struct SmallModel::Memory {
  std::deque<std::vector<double>> blocks;  // of doubles, for alignment

  TensorView Allocate(DType dtype, std::span<const int64_t> shape) {
    const int64_t bytes = NumElements(shape) * SizeOf(dtype);
    std::vector<double>& block = blocks.emplace_back(bytes / sizeof(double) + 1);
    return TensorView(block.data(), dtype, shape);
  }

  void Add(const Branch& branch, const BranchLayout& layout, int64_t rank, CheckpointState& state);
};

void SmallModel::Memory::Add(const Branch& branch, const BranchLayout& layout, int64_t rank,
                             CheckpointState& state) {
  const int64_t in_branch = rank - layout.first;
  if (in_branch < 0 || in_branch >= layout.num_ranks()) return;
  const int64_t in_stage = in_branch % (layout.tp * layout.dp);
  const int64_t tp = in_stage % layout.tp, dp = in_stage / layout.tp;
  const int64_t stage = in_branch / (layout.tp * layout.dp);
  const int64_t expt_ranks = layout.expt_tp * layout.ep;
  const int64_t expt_dp = in_stage / expt_ranks;
  const ShardSpec shard_spec{.tp = {tp, layout.tp},
                             .ep = {in_stage / layout.expt_tp % layout.ep, layout.ep},
                             .expt_tp = {in_stage % layout.expt_tp, layout.expt_tp},
                             .pp = {stage, layout.pp}};
  std::vector<StateTensor> weights, moments;
  for (const ParameterSpec& spec : branch.specs) {
    if (spec.stage * layout.pp / branch.num_layers != stage) continue;
    const bool expert = spec.gradient_group == GradientGroup::kExpert;
    const Shard shard = ShardOf(spec, shard_spec).value();
    weights.push_back({.name = spec.name,
                       .shape = spec.shape,
                       .boxes = shard.boxes,
                       .replica = expert ? expt_dp : dp,
                       .local = Allocate(spec.storage, shard.shape)});
    if (!HasMoments(branch, spec)) continue;
    // Each data-parallel rank has a share of the moments.
    const int64_t shares = expert ? layout.tp * layout.dp / expt_ranks : layout.dp;
    const int64_t share = expert ? expt_dp : dp, all = NumElements(shard.shape);
    const int64_t begin = share * all / shares, end = (share + 1) * all / shares;
    const std::vector<int64_t> flat = {end - begin};
    for (StateTensor& moment : FlatStates("exp_avg." + spec.name, spec, shard, {begin, end - begin},
                                          Allocate(DType::kF32, flat))) {
      moments.push_back(std::move(moment));
    }
  }
  const NameMap map = NameMap::Create(branch.boxes).value();
  std::vector<CheckpointTensor> tensors = map.Apply(weights).value();
  const std::string prefix = absl::StrCat("mimo.", branch.name, ".optimizer.state.exp_avg.");
  const std::vector<CheckpointTensor> of_moments = map.Apply(moments, "exp_avg.", prefix).value();
  tensors.insert(tensors.end(), of_moments.begin(), of_moments.end());
  state.tensors.insert(state.tensors.end(), tensors.begin(), tensors.end());
  state.objects.push_back({.name = ObjectName(absl::StrCat("mimo.", branch.name, ".step")).value(),
                           .value = {{"step", 7}, {"branch", branch.name}},
                           .main = in_branch == 0});
}

int64_t ModelLayout::num_ranks() const {
  return std::max(language.first + language.num_ranks(), encoder.first + encoder.num_ranks());
}

std::string ModelLayout::ToString() const {
  const auto text = [](const BranchLayout& branch) {
    return absl::StrCat("at ", branch.first, " tp ", branch.tp, " dp ", branch.dp, " pp ",
                        branch.pp, " ep ", branch.ep, " expt_tp ", branch.expt_tp);
  };
  return absl::StrCat("language ", text(language), ", encoder ", text(encoder));
}

std::vector<ModelLayout> LayoutsOf(int64_t num_ranks) {
  const auto branches = [](int64_t first, int64_t ranks, bool language) {
    std::vector<BranchLayout> result;
    for (int64_t tp = 1; tp <= std::min<int64_t>(4, ranks); tp *= 2) {
      for (int64_t pp = 1; pp <= (language ? 4 : 1) && tp * pp <= ranks; pp *= 2) {
        const int64_t stage_ranks = ranks / pp;
        for (int64_t ep = 1; ep <= (language ? 4 : 1) && ep <= stage_ranks; ep *= 2) {
          for (int64_t expt_tp = 1; expt_tp <= 2 && ep * expt_tp <= stage_ranks; expt_tp *= 2) {
            if (expt_tp > 1 && !language) continue;
            result.push_back({.first = first,
                              .tp = tp,
                              .dp = stage_ranks / tp,
                              .pp = pp,
                              .ep = ep,
                              .expt_tp = expt_tp});
          }
        }
      }
    }
    return result;
  };
  std::vector<ModelLayout> layouts;
  const auto combine = [&](const std::vector<BranchLayout>& encoders,
                           const std::vector<BranchLayout>& languages) {
    for (const BranchLayout& encoder : encoders) {
      for (const BranchLayout& language : languages) layouts.push_back({language, encoder});
    }
  };
  combine(branches(0, num_ranks, false), branches(0, num_ranks, true));
  if (num_ranks > 1) {
    const int64_t half = num_ranks / 2;
    combine(branches(0, half, false), branches(half, half, true));
    combine(branches(half, half, false), branches(0, half, true));
  }
  return layouts;
}

SmallModel::SmallModel(const ModelLayout& layout, int64_t rank, SmallModelSize size)
    : memory_(std::make_unique<Memory>()) {
  memory_->Add(Language(size), layout.language, rank, state_);
  memory_->Add(Encoder(size), layout.encoder, rank, state_);
}

SmallModel::~SmallModel() = default;
SmallModel::SmallModel(SmallModel&&) noexcept = default;

}  // namespace hetero
