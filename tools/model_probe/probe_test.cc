// A small nemotron_h and a small radio against transformers, whose weights and numbers
// testdata/generate.py wrote: from the files of the model to logits, features and every gradient.

#include "hetero/tools/model_probe/probe.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/ckpt/inspect/closeness.h"
#include "hetero/ckpt/inspect/difference.h"
#include "hetero/ckpt/inspect/tensors.h"
#include "hetero/ckpt/storage/posix_storage.h"
#include "hetero/data/file/test_folder.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const fs::path kTestdata = "tools/model_probe/testdata";

struct ProbeCase {
  std::string model;
  int64_t tp = 1;
  int64_t ep = 1;
  DType dtype = DType::kF32;
};

ProbeOptions OptionsOf(const ProbeCase& probe, const fs::path& folder) {
  ProbeOptions options{.model = kTestdata / probe.model / "model",
                       .inputs = kTestdata / probe.model / "inputs.safetensors",
                       .output = folder / "output.safetensors",
                       .tp = probe.tp,
                       .ep = probe.ep,
                       .dtype = probe.dtype,
                       .cast = probe.dtype != DType::kF32};
  return options;
}

class ProbeTest : public ::testing::TestWithParam<ProbeCase> {
 protected:
  PosixStorage storage_;
};

TEST_P(ProbeTest, EveryOutputAndGradientIsThatOfTransformers) {
  const fs::path folder = data::FreshFolder("probe");
  ProbeOptions options = OptionsOf(GetParam(), folder);
  options.layers = true;
  const auto report = Probe(storage_, options);
  ASSERT_THAT(report, IsOk());
  const auto ours = StoredTensors::Open(storage_, options.output);
  const auto theirs =
      StoredTensors::Open(storage_, kTestdata / GetParam().model / "expected.safetensors");
  ASSERT_THAT(ours, IsOk());
  ASSERT_THAT(theirs, IsOk());
  const auto closeness = CompareNumbers(**ours, **theirs);
  ASSERT_THAT(closeness, IsOk());
  EXPECT_THAT(closeness->only_first, IsEmpty());
  EXPECT_THAT(closeness->only_second, IsEmpty());
  EXPECT_THAT(closeness->unlike, IsEmpty());
  EXPECT_EQ(std::ssize(closeness->tensors), report->tensors_written);
  // The other side computes in f32.
  for (const TensorCloseness& tensor : closeness->tensors) {
    EXPECT_TRUE(tensor.IsWithin(2e-5)) << tensor.ToString();
  }
}

TEST_P(ProbeTest, WeightsGoBackAsTheyCame) {
  if (GetParam().dtype != DType::kF32) {
    ProbeOptions options = OptionsOf(GetParam(), data::FreshFolder("probe"));
    options.exported = data::FreshFolder("exported");
    EXPECT_THAT(Probe(storage_, options),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("dtype is f64"), HasSubstr("f32 -> f64"))));
    return;
  }
  std::map<std::string, std::string> files[2];
  for (const int again : {0, 1}) {
    ProbeOptions options = OptionsOf(GetParam(), data::FreshFolder("probe"));
    options.gradients = false;
    if (again == 1) options.model = fs::path(::testing::TempDir()) / "exported.0";
    options.exported = data::FreshFolder(absl::StrCat("exported.", again));
    ASSERT_THAT(Probe(storage_, options), IsOk());
    const std::vector<std::string> names = storage_.List(options.exported).value();
    for (const std::string& name : names) {
      files[again][name] = ReadText(storage_, options.exported / name).value();
    }
    const auto source = StoredTensors::Open(storage_, kTestdata / GetParam().model / "model");
    const auto exported = StoredTensors::Open(storage_, options.exported);
    ASSERT_THAT(exported, IsOk());
    EXPECT_TRUE(CompareTensors(**source, **exported).value().none());
  }
  EXPECT_EQ(files[0], files[1]);
  EXPECT_TRUE(files[0].contains("config.json"));
}

INSTANTIATE_TEST_SUITE_P(
    Models, ProbeTest,
    ::testing::Values(ProbeCase{"nemotron_h", 1}, ProbeCase{"nemotron_h", 2},
                      ProbeCase{"nemotron_h", 2, 2}, ProbeCase{"nemotron_h", 4, 2},
                      ProbeCase{"nemotron_h", 2, 1, DType::kF64}, ProbeCase{"nemotron_h_tied", 1},
                      ProbeCase{"nemotron_h_tied", 2},
                      ProbeCase{"nemotron_h_tied", 2, 1, DType::kF64}, ProbeCase{"radio", 1},
                      ProbeCase{"radio", 2}, ProbeCase{"radio", 2, 1, DType::kF64}),
    [](const auto& info) {
      return absl::StrCat(info.param.model, "_tp", info.param.tp, "_ep", info.param.ep, "_",
                          Name(info.param.dtype));
    });

// A file with one more layer than the config, and one with a name of its own.
TEST(ProbeErrorsTest, NamesWhatIsLeftOut) {
  PosixStorage storage;
  ProbeOptions options = OptionsOf({"radio"}, data::FreshFolder("probe"));
  const fs::path source = std::exchange(options.model, data::FreshFolder("left_out"));
  fs::copy_file(source / "model.safetensors", options.model / "model.safetensors");
  const std::string config = ReadText(storage, source / "config.json").value();
  ASSERT_THAT(WriteText(storage, options.model / "config.json",
                        absl::StrReplaceAll(
                            config, {{"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1"}})),
              IsOk());
  EXPECT_THAT(Probe(storage, options),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("nobody wants of the checkpoint:\n"
                                       "  radio_model.model.blocks.1.attn.proj.bias"),
                             HasSubstr("blocks.1.layer_scale2.lambda1"))));
  options.unused = {"radio_model.model.blocks.1.*"};
  const auto report = Probe(storage, options);
  ASSERT_THAT(report, IsOk());
  EXPECT_THAT(report->unused, ::testing::Contains("radio_model.summary_idxs"));
  EXPECT_THAT(report->unused, ::testing::Contains("radio_model.model.blocks.1.norm1.weight"));
}

TEST(ProbeErrorsTest, NamesWhatCannotBe) {
  PosixStorage storage;
  ProbeOptions options = OptionsOf({"nemotron_h", 4, 3}, data::FreshFolder("probe"));
  EXPECT_THAT(Probe(storage, options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("ep is 3, must divide tp 4")));
  options = OptionsOf({"nemotron_h", 8}, data::FreshFolder("probe"));
  EXPECT_THAT(Probe(storage, options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("8 tensor-parallel ranks")));
  options = OptionsOf({"nemotron_h"}, data::FreshFolder("probe"));
  options.inputs = kTestdata / "radio" / "inputs.safetensors";
  EXPECT_THAT(Probe(storage, options),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no tensor input_ids")));
  options.model = data::FreshFolder("model");
  ASSERT_THAT(WriteText(storage, options.model / "config.json", R"({"model_type": "llama"})"),
              IsOk());
  EXPECT_THAT(Probe(storage, options),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("model_type is \"llama\", must be nemotron_h or radio")));
}

}  // namespace
}  // namespace hetero
