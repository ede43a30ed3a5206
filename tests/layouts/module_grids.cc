#include "hetero/tests/layouts/module_grids.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

std::vector<std::pair<std::string_view, int64_t>> SizesOf(const ModuleGrid& grid) {
  return {{"tp", grid.tp},
          {"dp", grid.dp},
          {"pp", grid.pp},
          {"ep", grid.ep},
          {"expt_tp", grid.expt_tp}};
}

void AddFields(std::string_view module, const ModuleGrid& grid, int64_t rank_offset,
               std::vector<std::string>& fields) {
  fields.push_back(absl::StrCat(module, ".num_ranks=", grid.num_ranks()));
  fields.push_back(absl::StrCat(module, ".rank_offset=", rank_offset));
  for (const auto& [axis, size] : SizesOf(grid)) {
    if (axis != "dp") fields.push_back(absl::StrCat(module, ".", axis, "=", size));
  }
}

}  // namespace

int64_t ModuleGrids::world_size() const {
  return colocated ? language.num_ranks() : encoder.num_ranks() + language.num_ranks();
}

std::string ModuleGrids::Name() const {
  std::string name = colocated ? "Colocated_" : "";
  const auto add = [&](std::string_view module, const ModuleGrid& grid) {
    absl::StrAppend(&name, module);
    for (const auto& [axis, size] : SizesOf(grid)) {
      if (size > 1) absl::StrAppend(&name, "_", axis, size);
    }
  };
  add("Encoder", encoder);
  add("_Language", language);
  return name;
}

void PrintTo(const ModuleGrids& grids, std::ostream* out) { *out << grids.Name(); }

std::vector<std::string> FieldsOf(const ModuleGrids& grids, int64_t samples_per_microbatch) {
  std::vector<std::string> fields = {
      absl::StrCat("launch=threads:", grids.world_size()),
      absl::StrCat("micro_batch_size=", samples_per_microbatch / grids.language.dp)};
  AddFields("radio_encoder", grids.encoder, 0, fields);
  AddFields("language", grids.language, grids.colocated ? 0 : grids.encoder.num_ranks(), fields);
  return fields;
}

proto::RunConfig SweepModel(const ModuleGrids& grids) {
  std::vector<std::string> fields = FieldsOf(grids, /*samples_per_microbatch=*/4);
  // Sums over other parts round differently, so a token at a tie may choose another expert; without
  // expert bias, which would move by the count of that one token, nobody else does.
  for (const std::string_view field :
       {"sequence_length=32", "global_batch_size=16", "model.language.pattern=\"MEM*ME*-\"",
        "model.language.hidden_size=64",
        "model.language.attention={num_heads: 4 head_dim: 16 num_kv_groups: 2}",
        "model.language.mamba={num_heads: 8 head_dim: 16 num_groups: 4 state_size: 16 "
        "conv_kernel: 4 chunk_size: 16}",
        "model.language.mlp={ffn_size: 96}", "model.language.experts.num_experts=8",
        "model.language.experts.ffn_size=32", "model.language.experts.shared_ffn_size=64",
        "model.language.experts.expert_bias_rate=0"}) {
    fields.emplace_back(field);
  }
  fields.push_back(absl::StrCat("train_steps=", kSweepSteps));
  return RecipeConfig("mock_vlm_tiny", fields);
}

Curve TrainSweepModel(const ModuleGrids& grids) {
  return TrainCurve(SweepModel(grids), kSweepSteps);
}

const Curve& SweepModelOnOneRank() {
  static const Curve& curve = *new Curve(TrainSweepModel({.colocated = true}));
  return curve;
}

std::vector<ModuleGrids> LegalGrids() {
  std::vector<ModuleGrids> legal;
  for (const int64_t tp : {1, 2, 4}) {
    for (const int64_t ep : {1, 2, 4}) {
      for (int bits = 0; bits < 64; ++bits) {
        const auto one_or_two = [&](int bit) { return int64_t{1} + (bits >> bit & 1); };
        const ModuleGrids grids = {
            .encoder = {.tp = one_or_two(0), .dp = one_or_two(1), .pp = one_or_two(2)},
            .language = {.tp = tp,
                         .dp = one_or_two(3),
                         .pp = one_or_two(4),
                         .ep = ep,
                         .expt_tp = one_or_two(5)}};
        const ModuleGrid& language = grids.language;
        if (language.tp * language.dp % (language.ep * language.expt_tp) != 0) continue;
        if (grids.world_size() <= 16) legal.push_back(grids);
      }
    }
  }
  return legal;
}

}  // namespace hetero
