// One small checkpoint, and everything that can happen to its bytes.

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/ckpt/format/manifest.h"
#include "hetero/ckpt/inspect/contents.h"
#include "hetero/ckpt/inspect/convert.h"
#include "hetero/ckpt/inspect/difference.h"
#include "hetero/ckpt/inspect/tensors.h"
#include "hetero/ckpt/inspect/testing/two_tensors.h"
#include "hetero/ckpt/inspect/verify.h"
#include "hetero/ckpt/publish/tracker.h"
#include "hetero/ckpt/storage/memory_storage.h"
#include "hetero/ckpt/storage/testing/fault_storage.h"
#include "hetero/ckpt/testing/pattern.h"
#include "hetero/ckpt/testing/world.h"
#include "hetero/tensor/dtype.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const fs::path kFolder = "/save";
const fs::path kDirectory = kFolder / "iter_0000010";

class InspectTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_THAT(PublishTwoTensors(storage_, kFolder, 10), IsOk()); }

  std::vector<std::string> Names() { return storage_.List(kDirectory).value(); }
  std::string Read(std::string_view name) { return ReadText(storage_, kDirectory / name).value(); }
  void Write(std::string_view name, std::string_view text) {
    ASSERT_THAT(WriteText(storage_, kDirectory / name, text), IsOk());
  }

  // What verification says of the checkpoint, a line a damage.
  std::vector<std::string> Damages() {
    const auto report = VerifyCheckpoint(storage_, kDirectory);
    EXPECT_THAT(report, IsOk());
    std::vector<std::string> lines;
    if (report.ok()) {
      for (const Damage& damage : report->damages) lines.push_back(damage.ToString());
    }
    return lines;
  }

  MemoryStorage storage_;
};

TEST_F(InspectTest, AWholeCheckpointIsReadOnceAndHasNoDamage) {
  int64_t told = 0;
  const auto report = VerifyCheckpoint(storage_, kDirectory, {.progress = [&](int64_t bytes) {
                                         told = bytes;
                                         return absl::OkStatus();
                                       }});
  ASSERT_THAT(report, IsOk());
  EXPECT_THAT(report->damages, IsEmpty());
  EXPECT_EQ(report->files, 4);
  EXPECT_EQ(report->tensors, 2);
  EXPECT_EQ(report->objects, 1);
  int64_t bytes = 0;
  for (const std::string& name : Names()) {
    if (name != kManifestName && name != kCommitName) bytes += std::ssize(Read(name));
  }
  EXPECT_EQ(report->bytes, bytes);
  EXPECT_EQ(told, bytes);
}

TEST_F(InspectTest, EveryBitOfEveryByteOfEveryFileCounts) {
  for (const std::string& name : Names()) {
    const std::string text = Read(name);
    for (size_t at = 0; at < text.size(); ++at) {
      std::string damaged = text;
      damaged[at] ^= 1 << (at % 8);
      Write(name, damaged);
      const auto report = VerifyCheckpoint(storage_, kDirectory);
      ASSERT_THAT(report, IsOk());
      ASSERT_FALSE(report->damages.empty()) << name << " " << at;
      // A garbled COMMIT and a manifest that it does not match look alike.
      if (name != kCommitName) {
        EXPECT_EQ(report->damages[0].file, name) << at;
      }
    }
    Write(name, text);
  }
  EXPECT_THAT(Damages(), IsEmpty());
}

TEST_F(InspectTest, DamagesAreNamedByFileTensorChunkAndBlock) {
  const auto flip = [&](std::string_view name, std::string_view around, size_t beyond) {
    std::string text = Read(name);
    text[text.find(around) + beyond] ^= 4;
    Write(name, text);
  };
  flip("__0_0.distcp", HalfOfW(0), 50);
  EXPECT_THAT(Damages(),
              ElementsAre(AllOf(HasSubstr("__0_0.distcp, tensor \"w\": chunk 0, block 1, "
                                          "24 bytes at 56: crc32 is"),
                                HasSubstr(", expected "))));
  flip("__1_0.distcp", "object's", 3);
  flip("__0_0.distcp", "head", 0);  // told only of files that have nothing else
  EXPECT_THAT(Damages(), ElementsAre(HasSubstr("tensor \"w\""),
                                     HasSubstr("__1_0.distcp, object \"obj\": 16 bytes")));
}

TEST_F(InspectTest, WhatIsOutsideOfTensorsIsTold) {
  std::string text = Read("__1_0.distcp");
  text[1] ^= 1;
  Write("__1_0.distcp", text);
  EXPECT_THAT(Damages(),
              ElementsAre(AllOf(HasSubstr("__1_0.distcp: outside of tensors and objects"),
                                HasSubstr("crc32 is"))));
}

TEST_F(InspectTest, SizesAndNamesOfFilesCount) {
  const std::map<std::string, std::function<void()>> mutations = {
      {"__0_0.distcp, tensor \"w\": has ",
       [&] { Write("__0_0.distcp", Read("__0_0.distcp").substr(1)); }},
      {"__1_0.distcp, tensor \"w\": has 0 bytes", [&] { Write("__1_0.distcp", ""); }},
      {"__1_0.distcp, tensor \"w\": is missing",
       [&] { ASSERT_THAT(storage_.Remove(kDirectory / "__1_0.distcp"), IsOk()); }},
      {"metadata.json: has ", [&] { Write("metadata.json", Read("metadata.json") + "\n"); }},
      {"stray: is not in the manifest", [&] { Write("stray", ""); }},
      {"manifest.crc: is missing",
       [&] { ASSERT_THAT(storage_.Remove(kDirectory / kBlockSumsName), IsOk()); }},
      {"COMMIT: not a complete checkpoint",
       [&] { ASSERT_THAT(storage_.Remove(kDirectory / kCommitName), IsOk()); }},
      {"manifest.json: ",
       [&] { ASSERT_THAT(storage_.Remove(kDirectory / kManifestName), IsOk()); }},
  };
  for (const auto& [message, mutate] : mutations) {
    std::map<std::string, std::string> texts;
    for (const std::string& name : Names()) texts[name] = Read(name);
    mutate();
    EXPECT_THAT(Damages(), ElementsAre(HasSubstr(message)));
    for (const auto& [name, text] : texts) Write(name, text);
    storage_.Remove(kDirectory / "stray").IgnoreError();
  }
  EXPECT_THAT(Damages(), IsEmpty());
  EXPECT_THAT(VerifyCheckpoint(storage_, "/nowhere"), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(InspectTest, AZeroedFileIsToldByTensor) {
  const std::string first = Read("__0_0.distcp");
  Write("__0_0.distcp", std::string(first.size(), '\0'));
  EXPECT_THAT(Damages(), ElementsAre(HasSubstr("\"w\": chunk 0, block 0"),
                                     HasSubstr("\"w\": chunk 0, block 1"),
                                     HasSubstr("\"b\": chunk 0, block 0")));
}

TEST_F(InspectTest, PartsThatAreReadBackAreAllTogether) {
  // Three chunks and an object.
  for (const int64_t parts : {1, 2, 4, 7}) {
    for (const std::string name : {"__0_0.distcp", "__1_0.distcp"}) {
      const std::string text = Read(name);
      std::string damaged = text;
      damaged[20] ^= 1;
      Write(name, damaged);
      int64_t found = 0;
      for (int64_t part = 0; part < parts; ++part) {
        const absl::Status status = ReadBackPart(storage_, kDirectory, part, parts);
        found += !status.ok();
        EXPECT_THAT(status, AnyOf(IsOk(), StatusIs(absl::StatusCode::kDataLoss,
                                                   AllOf(HasSubstr((kDirectory / name).native()),
                                                         HasSubstr("\"w\": chunk")))));
      }
      EXPECT_EQ(found, 1);
      Write(name, text);
    }
  }
}

TEST_F(InspectTest, WhatTheDeviceCannotReadIsTold) {
  FaultStorage storage(storage_, [](const StorageCall& call) -> StorageFault {
    const bool hit =
        call.operation == StorageOperation::kRead && absl::StrContains(call.path.native(), "__0_0");
    return hit ? StorageFault{.kind = StorageFault::Kind::kError, .error = EIO} : StorageFault{};
  });
  const auto report = VerifyCheckpoint(storage, kDirectory);
  ASSERT_THAT(report, IsOk());
  EXPECT_THAT(report->damages, SizeIs(1));
  EXPECT_THAT(report->damages[0].ToString(),
              AllOf(HasSubstr("__0_0.distcp"), HasSubstr("Input/output error")));
  EXPECT_THAT(VerifyCheckpoint(storage_, kDirectory,
                               {.progress = [](int64_t) { return absl::CancelledError("stop"); }}),
              StatusIs(absl::StatusCode::kCancelled));
}

TEST_F(InspectTest, TensorsAreWholeWhateverTheirChunks) {
  const auto tensors = StoredTensors::Open(storage_, kDirectory);
  ASSERT_THAT(tensors, IsOk());
  EXPECT_EQ((*tensors)->heads().at("w").ToString(), "f32 [4,8]");
  const auto w = (*tensors)->Read("w");
  ASSERT_THAT(w, IsOk());
  ASSERT_EQ(w->size(), 128);
  for (int i = 0; i < 32; ++i) {
    float value;
    std::memcpy(&value, w->data() + 4 * i, 4);
    EXPECT_EQ(value, i);
  }
  std::string text = Read("__1_0.distcp");
  text[text.find(HalfOfW(1)) + 9] ^= 1;
  Write("__1_0.distcp", text);
  EXPECT_THAT(
      (*StoredTensors::Open(storage_, kDirectory))->Read("w"),
      StatusIs(absl::StatusCode::kDataLoss, HasSubstr("__1_0.distcp, w [0,4]+[4,4], block 0")));
}

TEST_F(InspectTest, ConvertedTensorsAreTheSameAndDifferencesAreCounted) {
  const auto tensors = StoredTensors::Open(storage_, kDirectory);
  ASSERT_THAT(tensors, IsOk());
  // Two files, and one tensor alone.
  EXPECT_THAT(WriteAsSafetensors(**tensors, storage_, "/all", {.max_file_bytes = 100}),
              IsOkAndHolds(2));
  EXPECT_THAT(WriteAsSafetensors(**tensors, storage_, "/b", {.prefix = "b"}), IsOkAndHolds(1));
  EXPECT_THAT(WriteAsSafetensors(**tensors, storage_, "/b", {}),
              StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_THAT(WriteAsSafetensors(**tensors, storage_, "/c", {.prefix = "c"}),
              StatusIs(absl::StatusCode::kNotFound));
  const auto all = StoredTensors::Open(storage_, "/all");
  ASSERT_THAT(all, IsOk());
  const auto same = CompareTensors(**tensors, **all);
  ASSERT_THAT(same, IsOk());
  EXPECT_TRUE(same->none());
  EXPECT_EQ(same->equal, 2);

  ASSERT_THAT(PublishTwoTensors(storage_, kFolder, 20, /*change=*/0.5), IsOk());
  const auto other = StoredTensors::Open(storage_, kFolder / "iter_0000020");
  const auto report = CompareTensors(**all, **other);
  ASSERT_THAT(report, IsOk());
  ASSERT_THAT(report->different, SizeIs(1));
  EXPECT_EQ(report->different[0].ToString(), "w: 1 of 32 elements differ, by 0.5 at most");
  const auto less = CompareTensors(**StoredTensors::Open(storage_, "/b"), **other);
  ASSERT_THAT(less, IsOk());
  EXPECT_THAT(less->only_second, ElementsAre("w"));
  EXPECT_EQ(less->equal, 1);
}

// Tensors that must not be asked for at once.
class RecordingTensors : public StoredTensors {
 public:
  explicit RecordingTensors(const StoredTensors& tensors) : tensors_(tensors) {
    heads_ = tensors.heads();
  }

  absl::Status Read(std::string_view key, const Box& box, std::span<std::byte> out) const override {
    most_ = std::max(most_, std::ssize(out));
    ++reads_;
    return tensors_.Read(key, box, out);
  }

  int64_t most() const { return most_; }
  int64_t reads() const { return reads_; }

 private:
  const StoredTensors& tensors_;
  mutable int64_t most_ = 0;
  mutable int64_t reads_ = 0;
};

// Whatever is converted, as much memory is enough for it as the options say.
TEST_F(InspectTest, ConversionsHoldAPartOfOneTensor) {
  WholeTensor tall("tall", DType::kF32, {3000, 3}), wide("wide", DType::kBF16, {2, 2, 5000}),
      scalar("scalar", DType::kI64, {}), empty("empty", DType::kF32, {0, 3});
  CheckpointState state{.tensors = {tall.tensor(), wide.tensor(), scalar.tensor(), empty.tensor()}};
  FillPattern(state.tensors);
  ASSERT_THAT(SaveAlone(storage_, "/c", state), IsOk());
  const auto source = StoredTensors::Open(storage_, "/c");
  ASSERT_THAT(source, IsOk());
  const RecordingTensors tensors(**source);
  const ConvertOptions options = {.memory_bytes = 5000};
  EXPECT_THAT(WriteAsSafetensors(tensors, storage_, "/exported", options), IsOkAndHolds(4));
  EXPECT_LE(tensors.most(), 5000);
  const int64_t reads = tensors.reads();
  EXPECT_GE(reads, (36000 + 40000) / 5000);
  EXPECT_THAT(PublishAsCheckpoint(tensors, storage_, "/again", 7, options), IsOkAndHolds(4));
  EXPECT_LE(tensors.most(), 5000);
  // The files lie as if the state had been in memory, and nothing is read twice.
  EXPECT_EQ(tensors.reads(), 2 * reads - 1) << "the empty one is not read";
  for (const char* path : {"/exported", "/again/iter_0000007"}) {
    const auto written = StoredTensors::Open(storage_, path);
    ASSERT_THAT(written, IsOk());
    const auto report = CompareTensors(**source, **written);
    ASSERT_THAT(report, IsOk());
    EXPECT_TRUE(report->none()) << path;
  }
  EXPECT_THAT(VerifyCheckpoint(storage_, "/again/iter_0000007")->damages, IsEmpty());
  const auto stopped = [](std::string_view) { return absl::CancelledError("enough"); };
  EXPECT_THAT(PublishAsCheckpoint(tensors, storage_, "/stopped", 7, {.before_each = stopped}),
              StatusIs(absl::StatusCode::kCancelled));
}

TEST_F(InspectTest, ListsSayWhatIsThere) {
  EXPECT_THAT(CheckpointText(storage_, kDirectory),
              IsOkAndHolds(AllOf(HasSubstr("w  f32  [4,8]  2 chunks  128 bytes\n"),
                                 HasSubstr("b  bf16  [5]  1 chunk  10 bytes\n"),
                                 HasSubstr("obj  object  16 bytes\n"), HasSubstr("iteration 10"),
                                 HasSubstr("37 elements"))));
  ASSERT_THAT(storage_.MakeDirectory(kFolder / "iter_0000020"), IsOk());
  ASSERT_THAT(WriteText(storage_, kFolder / "iter_0000020" / "metadata.json",
                        R"({"sharded_backend": "torch_dist", "sharded_backend_version": 1})"),
              IsOk());
  ASSERT_THAT(storage_.MakeDirectory(kFolder / ".iter_0000030.abc"), IsOk());
  auto contents = ListFolder(storage_, kFolder);
  ASSERT_THAT(contents, IsOk());
  EXPECT_THAT(FolderText(*contents),
              AllOf(HasSubstr("* iter_0000010  0.000 GB, 2 tensors, 37 elements"),
                    HasSubstr("  iter_0000020  written by another program"),
                    HasSubstr(".iter_0000030.abc  not published")));
  Write("__0_0.distcp", "");
  ASSERT_THAT(WriteTracker(storage_, kFolder, 40), IsOk());
  contents = ListFolder(storage_, kFolder);
  ASSERT_THAT(contents, IsOk());
  EXPECT_THAT(FolderText(*contents),
              AllOf(HasSubstr("iter_0000010  /save/iter_0000010/__0_0.distcp has 0 bytes"),
                    HasSubstr("* iter_0000040  is missing")));
}

}  // namespace
}  // namespace hetero
