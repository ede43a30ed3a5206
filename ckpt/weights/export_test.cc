// Weights as whole tensors in safetensors files: written by many ranks, read by others.

#include "hetero/ckpt/weights/export.h"

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/load.h"
#include "hetero/ckpt/safetensors/reader.h"
#include "hetero/ckpt/storage/memory_storage.h"
#include "hetero/ckpt/testing/pattern.h"
#include "hetero/ckpt/testing/small_model.h"
#include "hetero/ckpt/testing/world.h"
#include "hetero/tensor/view.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const LoadOptions kImport = {.refuse_unused = true, .foreign = true};

std::map<std::string, std::string> FilesOf(Storage& storage, const std::string& folder) {
  std::map<std::string, std::string> files;
  const std::vector<std::string> names = storage.List(folder).value();
  for (const std::string& name : names) {
    files[name] = ReadText(storage, folder + "/" + name).value();
  }
  return files;
}

// All ranks of a layout with the pattern.
absl::Status ExportPattern(Storage& storage, const ModelLayout& layout, const std::string& folder,
                           const ExportOptions& options) {
  std::atomic<int64_t> written = 0;
  int64_t bytes = 0;
  HETERO_RETURN_IF_ERROR(RunWorld(layout.num_ranks(), [&](RankInWorld world) -> absl::Status {
    SmallModel model(layout, world.rank);
    FillPattern(model.state().tensors);
    HETERO_ASSIGN_OR_RETURN(const ExportReport report,
                            ExportWeights(storage, folder, model.state().tensors, world.exchange,
                                          options, world.stream, world.memory));
    written += report.bytes_written;
    if (world.rank == 0) bytes = report.bytes;
    return absl::OkStatus();
  }));
  EXPECT_EQ(written, bytes);
  return absl::OkStatus();
}

absl::Status ImportAndExport(Storage& storage, const ModelLayout& layout, const std::string& from,
                             const std::string& to, const ExportOptions& options) {
  return RunWorld(layout.num_ranks(), [&](RankInWorld world) -> absl::Status {
    SmallModel model(layout, world.rank);
    FillValue(model.state().tensors, 99);
    model.state().objects.clear();
    HETERO_RETURN_IF_ERROR(
        Load(storage, from, model.state(), world.exchange, kImport, world.stream, world.memory));
    EXPECT_EQ(PatternDifference(model.state().tensors), "") << "rank " << world.rank;
    return ExportWeights(storage, to, model.state().tensors, world.exchange, options, world.stream,
                         world.memory)
        .status();
  });
}

TEST(ExportTest, ManyRanksOfAnyLayoutWriteTheBytesOfOne) {
  std::mt19937_64 random = FreshGenerator();
  for (int i = 0; i < 8; ++i) {
    const std::vector<ModelLayout> layouts = LayoutsOf(8);
    const ModelLayout& many = layouts[random() % layouts.size()];
    const ModelLayout& others = layouts[random() % layouts.size()];
    SCOPED_TRACE(absl::StrCat(many.ToString(), "\n  to ", others.ToString()));
    MemoryStorage storage;
    const ExportOptions whole = {.max_file_bytes = 1000};
    ASSERT_THAT(ExportPattern(storage, LayoutsOf(1)[0], "/one", whole), IsOk());
    const std::map<std::string, std::string> one = FilesOf(storage, "/one");
    EXPECT_GT(one.size(), 3u);
    EXPECT_TRUE(one.contains("model.safetensors.index.json"));
    // Elements go through few bytes of memory.
    const ExportOptions parts = {.max_file_bytes = 1000, .buffer_bytes = 24};
    ASSERT_THAT(ExportPattern(storage, many, "/many", parts), IsOk());
    EXPECT_EQ(FilesOf(storage, "/many"), one);
    ASSERT_THAT(ImportAndExport(storage, others, "/many", "/again", parts), IsOk());
    EXPECT_EQ(FilesOf(storage, "/again"), one);
  }
}

// A model of one file: "layers.0.up.weight" [8, 4] and "norm.weight" [4], the pattern.
class ImportTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_THAT(Write("/m", up_.tensor(), norm_.tensor()), IsOk()); }

  absl::Status Write(const std::string& folder, const CheckpointTensor& first,
                     const CheckpointTensor& second) {
    FillPattern({{first, second}});
    return RunWorld(1, [&](RankInWorld world) {
      return ExportWeights(storage_, folder, {first, second}, world.exchange, {}, world.stream,
                           world.memory)
          .status();
    });
  }

  absl::StatusOr<LoadReport> Import(std::vector<CheckpointTensor> tensors,
                                    const LoadOptions& options = kImport,
                                    const std::string& folder = "/m") {
    CheckpointState state{.tensors = std::move(tensors)};
    return LoadAlone(storage_, folder, state, options);
  }

  MemoryStorage storage_;
  WholeTensor up_{"layers.0.up.weight", DType::kF32, {8, 4}};
  WholeTensor norm_{"norm.weight", DType::kF32, {4}};
};

TEST_F(ImportTest, WhatIsMissingAndWhatIsUnknownIsAllNamedWithTheNearest) {
  WholeTensor up("layers.0.up_proj.weight", DType::kF32, {8, 4});
  WholeTensor norm("norm.weight", DType::kF32, {4});
  WholeTensor head("head.weight", DType::kF32, {4});
  FillValue({{up.tensor(), norm.tensor(), head.tensor()}}, 7);
  EXPECT_THAT(
      Import({up.tensor(), norm.tensor(), head.tensor()}),
      StatusIs(absl::StatusCode::kNotFound,
               AllOf(HasSubstr("lacks 2 of the keys"),
                     HasSubstr("head.weight (ranks 0); nearest stored: "),
                     HasSubstr("layers.0.up_proj.weight (ranks 0); nearest stored: layers.0.up.w"),
                     HasSubstr("nobody wants of the checkpoint:\n  layers.0.up.weight; nearest "
                               "wanted: layers.0.up_proj.weight"))));
  EXPECT_EQ(norm.Floats(), std::vector<float>(4, 7)) << "changed by a load that failed";
  // A row of a stack is no layer here: names are taken as they are.
  WholeTensor stacked("layers.up.weight", DType::kF32, {1, 8, 4});
  EXPECT_THAT(Import({stacked.tensor(), norm.tensor()}), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(ImportTest, WhatMayBeUnusedIsSaid) {
  WholeTensor norm("norm.weight", DType::kF32, {4});
  EXPECT_THAT(Import({norm.tensor()}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("layers.0.up.weight")));
  LoadOptions options = kImport;
  options.may_be_unused = {"layers.*"};
  const absl::StatusOr<LoadReport> report = Import({norm.tensor()}, options);
  ASSERT_THAT(report, IsOk());
  EXPECT_THAT(report->unused, ElementsAre("layers.0.up.weight"));
  EXPECT_EQ(PatternDifference({{norm.tensor()}}), "");
}

TEST_F(ImportTest, ShapesAreThoseOfTheModel) {
  WholeTensor up("layers.0.up.weight", DType::kF32, {4, 8});
  EXPECT_THAT(
      Import({up.tensor(), norm_.tensor()}),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("layers.0.up.weight has shape [8,4] in the checkpoint and [4,8]")));
}

TEST_F(ImportTest, TypesAreCastOnlyWhereThatIsAskedFor) {
  for (const DType from : {DType::kF32, DType::kBF16}) {
    for (const DType to : {DType::kF32, DType::kBF16, DType::kF64}) {
      if (from == to) continue;
      WholeTensor up("up", from, {8, 4}), norm("norm", from, {4});
      const std::string folder = absl::StrCat("/", Name(from), Name(to));
      ASSERT_THAT(Write(folder, up.tensor(), norm.tensor()), IsOk());
      WholeTensor wanted_up("up", to, {8, 4}), wanted_norm("norm", to, {4});
      const std::vector<CheckpointTensor> wanted = {wanted_up.tensor(), wanted_norm.tensor()};
      EXPECT_THAT(Import(wanted, kImport, folder),
                  StatusIs(absl::StatusCode::kInvalidArgument,
                           AllOf(HasSubstr("up is "), HasSubstr("norm is "),
                                 HasSubstr("casting has to be asked for"))));
      LoadOptions options = kImport;
      options.cast = true;
      const absl::StatusOr<LoadReport> report = Import(wanted, options, folder);
      ASSERT_THAT(report, IsOk());
      EXPECT_EQ(PatternDifference(wanted), "");
      EXPECT_EQ(report->cast.size(), 2u);
    }
  }
  WholeTensor whole("layers.0.up.weight", DType::kI32, {8, 4});
  LoadOptions options = kImport;
  options.cast = true;
  EXPECT_THAT(Import({whole.tensor(), norm_.tensor()}, options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("f32 in the checkpoint")));
}

TEST_F(ImportTest, ARankReadsItsRowsOnly) {
  EXPECT_THAT(RunWorld(4,
                       [&](RankInWorld world) -> absl::Status {
                         WholeTensor whole("layers.0.up.weight", DType::kF32, {8, 4});
                         CheckpointTensor rows = whole.tensor();
                         rows.pieces[0].box = {{2 * world.rank, 0}, {2, 4}};
                         rows.pieces[0].local = rows.pieces[0].local.Rows(2 * world.rank, 2);
                         CheckpointState state{.tensors = {rows}};
                         LoadOptions options = kImport;
                         options.may_be_unused = {"norm.weight"};
                         HETERO_ASSIGN_OR_RETURN(const LoadReport report,
                                                 Load(storage_, "/m", state, world.exchange,
                                                      options, world.stream, world.memory));
                         EXPECT_EQ(report.bytes_read, 2 * 4 * 4);
                         EXPECT_EQ(PatternDifference(state.tensors), "");
                         return absl::OkStatus();
                       }),
              IsOk());
}

TEST_F(ImportTest, WhatOthersWroteHasToBeAskedFor) {
  EXPECT_THAT(Import({up_.tensor(), norm_.tensor()}, {}),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("written by others")));
  ASSERT_THAT(storage_.MakeDirectory("/empty"), IsOk());
  EXPECT_THAT(Import({up_.tensor()}, kImport, "/empty"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("nor safetensors files")));
}

TEST_F(ImportTest, AModelThatIsNotWholeIsRefused) {
  ASSERT_THAT(WriteText(storage_, "/m/model.safetensors.index.json",
                        R"({"weight_map":{"norm.weight":"other.safetensors"}})"),
              IsOk());
  EXPECT_THAT(Import({up_.tensor(), norm_.tensor()}),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("other.safetensors")));
}

TEST_F(ImportTest, TensorsThatNobodyHoldsAreCopied) {
  const auto reader = SafetensorsReader::Open(storage_, "/m");
  ASSERT_THAT(reader, IsOk());
  const ExportOptions options = {
      .copied_from = reader->get(), .copied = {"norm.*"}, .buffer_bytes = 8};
  FillPattern({{up_.tensor()}});
  const auto write = [&](RankInWorld world) {
    return ExportWeights(
               storage_, "/copy",
               world.rank == 0 ? std::vector{up_.tensor()} : std::vector<CheckpointTensor>(),
               world.exchange, options, world.stream, world.memory)
        .status();
  };
  ASSERT_THAT(RunWorld(2, write), IsOk());
  EXPECT_EQ(FilesOf(storage_, "/copy"), FilesOf(storage_, "/m"));
}

TEST_F(ImportTest, AFolderWithAModelIsLeftAlone) {
  EXPECT_THAT(Write("/m", up_.tensor(), norm_.tensor()),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("/m has model.safetensors")));
}

TEST_F(ImportTest, ElementsThatNobodyWritesAreNamed) {
  CheckpointTensor half = up_.tensor();
  half.pieces[0].box.size[0] = 4;
  half.pieces[0].local = half.pieces[0].local.Rows(0, 4);
  EXPECT_THAT(Write("/half", half, norm_.tensor()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("layers.0.up.weight")));
  EXPECT_FALSE(storage_.Exists("/half"));
}

}  // namespace
}  // namespace hetero
