#include "hetero/tools/model_probe/published_model.h"

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/ckpt/storage/memory_storage.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

// A file with a tensor of one number.
std::string FileOf(std::string_view tensor) {
  std::string header =
      absl::StrCat("{\"", tensor, R"(":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})");
  header.resize((header.size() + 7) / 8 * 8, ' ');
  std::string file(8, '\0');
  for (size_t i = 0; i < 8; ++i) file[i] = static_cast<char>(uint64_t{header.size()} >> 8 * i);
  return absl::StrCat(file, header, std::string(4, '\0'));
}

// Its layers may have factors or not: config.json says 1 either way.
TEST(PublishedModelTest, WeightsSayWhetherLayersHaveFactors) {
  for (const bool has_factors : {false, true}) {
    MemoryStorage storage;
    ASSERT_THAT(storage.MakeDirectory("/m"), IsOk());
    ASSERT_THAT(WriteText(storage, "/m/config.json", R"({
        "model_type": "radio", "hidden_size": 16, "num_hidden_layers": 2,
        "num_attention_heads": 2, "mlp_ratio": 2.0, "hidden_act": "gelu", "layer_norm_eps": 1e-06,
        "patch_size": 4, "max_img_size": 24, "num_cls_tokens": 1, "num_registers": 2,
        "summary_idxs": [0], "layerscale_value": 1.0})"),
                IsOk());
    ASSERT_THAT(
        WriteText(storage, "/m/model.safetensors",
                  FileOf(absl::StrCat("radio_model.model.blocks.0.",
                                      has_factors ? "layer_scale1.lambda1" : "norm1.weight"))),
        IsOk());
    const absl::StatusOr<PublishedModel> model = ReadPublishedModel(storage, "/m");
    ASSERT_THAT(model, IsOk());
    const auto& encoder = std::get<proto::RadioEncoder>(*model);
    EXPECT_EQ(encoder.has_layer_scale_init(), has_factors);
    EXPECT_EQ(encoder.layer_scale_init(), has_factors ? 1 : 0);
  }
}

}  // namespace
}  // namespace hetero
