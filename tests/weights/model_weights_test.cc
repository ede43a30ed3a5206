// Weights of whole models in safetensors files of public models, out of and into every layout.

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/exchange.h"
#include "hetero/ckpt/load.h"
#include "hetero/ckpt/plan/name_map.h"
#include "hetero/ckpt/safetensors/reader.h"
#include "hetero/ckpt/storage/memory_storage.h"
#include "hetero/ckpt/weights/export.h"
#include "hetero/comm/run_ranks.h"
#include "hetero/grid/module_grid.h"
#include "hetero/models/nemotron/hybrid.h"
#include "hetero/models/nemotron/hybrid_model.h"
#include "hetero/models/vlm/multimodal_model.h"
#include "hetero/params/parameter_store.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/stream.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr uint64_t kSeed = 7;
const LoadOptions kImport = {.refuse_unused = true, .foreign = true};

// Every kind of layer, and a vocabulary that is no multiple of what ranks divide it by.
HybridConfig Language(DType storage) {
  HybridConfig config{
      .pattern = LayerPattern::Parse("M*|E-").value(),
      .hidden_size = 8,
      .vocabulary_size = 1100,
      .storage = storage,
      .attention = {.num_heads = 4, .num_kv_groups = 2, .head_dim = 4},
      .mamba = {.num_heads = 4, .head_dim = 4, .num_groups = 4, .state_size = 4, .chunk_size = 4},
      .experts = {.num_experts = 4, .top_k = 2, .ffn_size = 8, .shared_ffn_size = 8},
      .mlp = {.ffn_size = 12}};
  const auto common = [&](auto& block) {
    block.hidden_size = config.hidden_size;
    block.storage = storage;
  };
  common(config.attention);
  common(config.mamba);
  common(config.experts);
  common(config.mlp);
  return config;
}

MultimodalConfig WithVision(DType storage, bool rms_norm = true, bool final_norm = false) {
  return {.vision = VisionConfig{.encoder = {.num_layers = 2,
                                             .layer = {.hidden_size = 8,
                                                       .num_heads = 4,
                                                       .head_dim = 4,
                                                       .ffn_size = 12,
                                                       .storage = storage},
                                             .patch_size = 2,
                                             .max_image_side = 8,
                                             .num_class_tokens = 3,
                                             .final_norm = final_norm},
                                 .projector = {.kind = ProjectorConfig::Kind::kMlp,
                                               .rms_norm = rms_norm,
                                               .input_size = 32,
                                               .ffn_size = 20,
                                               .output_size = 8,
                                               .storage = storage}},
          .hearing = std::nullopt,
          .language = Language(storage)};
}

// What one rank of a module has, and how it lies in files.
class RankWeights {
 public:
  RankWeights(const Model& model, std::string_view module, const Grid& grid, GlobalRank rank) {
    const auto axis = [&](Axis axis) {
      return ShardSpec::Axis{.rank = grid.Coord(rank, axis), .size = grid.Size(axis)};
    };
    const ShardSpec shard{.tp = axis(Axis::kTp),
                          .ep = axis(Axis::kEp),
                          .expt_tp = axis(Axis::kExptTp),
                          .pp = axis(Axis::kPp)};
    const ParameterTable table = model.MakeTable(module, shard).value();
    store_ =
        ParameterStore::Create(table.Stage(static_cast<int>(shard.pp.rank)), shard, {}, memory_)
            .value();
    const std::vector<StateTensor> states =
        store_->States(grid.Coord(rank, Axis::kDp), grid.Coord(rank, Axis::kExptDp));
    tensors_ = NameMap::Create(model.NamesIn(NameScheme::kHuggingFace, module).value())
                   .value()
                   .Apply(states)
                   .value();
  }

  ParameterStore& store() { return *store_; }
  const std::vector<CheckpointTensor>& tensors() const { return tensors_; }

 private:
  MemoryLedger memory_;
  std::unique_ptr<ParameterStore> store_;
  std::vector<CheckpointTensor> tensors_;
};

class ModelWeightsTest : public ::testing::Test {
 protected:
  // Weights from `from`, or where that is empty new ones, go to `to`, unless that is empty. With
  // `cast` those of a model of f32 become those of one of bf16, which the CPU cannot make new.
  absl::Status Move(const Model& model, std::string_view module, const GridSpec& spec,
                    const std::string& from, const std::string& to, bool cast = false) {
    LoadOptions import = kImport;
    import.cast = cast;
    const Grid grid = Grid::Make(spec).value();
    return RunRanks(
        grid.num_ranks(), [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
          std::unique_ptr<Communicator> world;
          if (grid.num_ranks() > 1) {
            HETERO_ASSIGN_OR_RETURN(
                world, factory.Create({"weights", *grid.GroupOf(Family::kModule, rank)}));
          }
          Exchange exchange(world.get());
          MemoryLedger memory;
          Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
          Stream stream(Device{}, workspace);
          RankWeights weights(model, module, grid, rank);
          if (from.empty()) {
            HETERO_RETURN_IF_ERROR(weights.store().Initialize(kSeed, stream));
          } else {
            CheckpointState state{.tensors = weights.tensors()};
            HETERO_RETURN_IF_ERROR(Load(storage_, from, state, exchange, import, stream, memory));
          }
          if (to.empty()) return absl::OkStatus();
          return ExportWeights(storage_, to, weights.tensors(), exchange, {.max_file_bytes = 4'000},
                               stream, memory)
              .status();
        });
  }

  std::map<std::string, std::string> FilesOf(const std::string& folder) {
    std::map<std::string, std::string> files;
    const std::vector<std::string> names = storage_.List(folder).value();
    for (const std::string& name : names) {
      files[name] = ReadText(storage_, folder + "/" + name).value();
    }
    return files;
  }

  MemoryStorage storage_;
};

TEST_F(ModelWeightsTest, EveryLayoutWritesTheFilesOfOneRankAndReadsThem) {
  const GridSpec layouts[] = {{.name = "m", .num_ranks = 2, .tp = 2, .expt_tp = 2},
                              {.name = "m", .num_ranks = 4, .tp = 4, .ep = 4},
                              {.name = "m", .num_ranks = 4, .tp = 2, .ep = 2},
                              {.name = "m", .num_ranks = 8, .tp = 4, .ep = 2, .expt_tp = 2},
                              {.name = "m", .num_ranks = 4, .tp = 2, .pp = 2, .ep = 2}};
  for (const DType storage : {DType::kF32, DType::kBF16}) {
    const std::unique_ptr<Model> model = MakeMultimodalModel(WithVision(storage));
    for (const std::string_view module : {kLanguageModule, kRadioEncoderModule}) {
      const std::string root = absl::StrCat("/", Name(storage), module);
      const GridSpec alone{.name = "m", .num_ranks = 1};
      const bool cast = storage == DType::kBF16;
      const std::string source = cast ? root + "/f32" : "";
      if (cast) {
        ASSERT_THAT(Move(*MakeMultimodalModel(WithVision(DType::kF32)), module, alone, "", source),
                    IsOk());
      }
      ASSERT_THAT(Move(*model, module, alone, source, root + "/one", cast), IsOk());
      const std::map<std::string, std::string> one = FilesOf(root + "/one");
      EXPECT_GT(one.size(), 1u);
      std::string before = root + "/one";
      for (size_t i = 0; i < std::size(layouts); ++i) {
        const std::string made = absl::StrCat(root, "/made", i), moved = absl::StrCat(root, "/", i);
        ASSERT_THAT(Move(*model, module, layouts[i], source, made, cast), IsOk()) << i;
        EXPECT_EQ(FilesOf(made), one) << i;
        ASSERT_THAT(Move(*model, module, layouts[i], before, moved), IsOk()) << i;
        EXPECT_EQ(FilesOf(moved), one) << i;
        before = moved;
      }
    }
  }
}

TEST_F(ModelWeightsTest, FilesHaveTheVocabularyWithoutPaddingAndTheTypesOfTheModel) {
  const GridSpec grid{.name = "m", .num_ranks = 2, .tp = 2, .ep = 2};
  ASSERT_THAT(
      Move(*MakeMultimodalModel(WithVision(DType::kF32)), kLanguageModule, grid, "", "/f32"),
      IsOk());
  const std::unique_ptr<Model> model = MakeMultimodalModel(WithVision(DType::kBF16));
  ASSERT_THAT(Move(*model, kLanguageModule, grid, "/f32", "/m", /*cast=*/true), IsOk());
  const auto reader = SafetensorsReader::Open(storage_, "/m");
  ASSERT_THAT(reader, IsOk());
  for (const char* key :
       {"language_model.backbone.embeddings.weight", "language_model.lm_head.weight"}) {
    EXPECT_THAT((*reader)->Find(key).value()->shape, ElementsAre(1100, 8)) << key;
  }
  for (const auto& [name, tensor] : (*reader)->tensors()) {
    const bool bias = absl::EndsWith(name, "e_score_correction_bias");
    EXPECT_EQ(tensor.type, bias ? ElementType::kF32 : ElementType::kBF16) << name;
  }
}

TEST_F(ModelWeightsTest, ANormThatFilesDoNotHaveIsNamed) {
  const std::unique_ptr<Model> published = MakeMultimodalModel(WithVision(DType::kF32)),
                               ours = MakeMultimodalModel(
                                   WithVision(DType::kF32, /*rms_norm=*/true, /*final_norm=*/true));
  const GridSpec alone{.name = "m", .num_ranks = 1};
  ASSERT_THAT(Move(*published, kRadioEncoderModule, alone, "", "/m"), IsOk());
  EXPECT_THAT(
      Move(*ours, kRadioEncoderModule, alone, "/m", ""),
      StatusIs(absl::StatusCode::kNotFound,
               AllOf(HasSubstr("lacks 2 of the keys"), HasSubstr("vision_final_layernorm.weight"),
                     HasSubstr("vision_final_layernorm.bias"))));
}

TEST_F(ModelWeightsTest, AProjectorOfAnotherShapeIsNamed) {
  const std::unique_ptr<Model> with = MakeMultimodalModel(WithVision(DType::kF32)),
                               without =
                                   MakeMultimodalModel(WithVision(DType::kF32, /*rms_norm=*/false));
  const GridSpec alone{.name = "m", .num_ranks = 1};
  ASSERT_THAT(Move(*with, kRadioEncoderModule, alone, "", "/with"), IsOk());
  ASSERT_THAT(Move(*without, kRadioEncoderModule, alone, "", "/without"), IsOk());
  EXPECT_THAT(Move(*with, kRadioEncoderModule, alone, "/without", ""),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("\n  mlp1.0.weight"), Not(HasSubstr("nobody wants")))));
  EXPECT_THAT(Move(*without, kRadioEncoderModule, alone, "/with", ""),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("nobody wants of the checkpoint:\n  mlp1.0.weight")));
}

}  // namespace
}  // namespace hetero
