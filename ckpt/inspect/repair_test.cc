#include "hetero/ckpt/inspect/repair.h"

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/format/manifest.h"
#include "hetero/ckpt/format/torch_metadata.h"
#include "hetero/ckpt/inspect/verify.h"
#include "hetero/ckpt/save.h"
#include "hetero/ckpt/storage/memory_storage.h"
#include "hetero/ckpt/testing/pattern.h"
#include "hetero/ckpt/testing/small_model.h"
#include "hetero/ckpt/testing/world.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const fs::path kDirectory = "/c";

// What four ranks of two branches wrote: boxes, objects and several files of each.
class RepairTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const ModelLayout layout = {.language = {.first = 2, .tp = 2}, .encoder = {.dp = 2}};
    ASSERT_EQ(layout.num_ranks(), 4);
    ASSERT_THAT(storage_.MakeDirectory(kDirectory), IsOk());
    ASSERT_THAT(RunWorld(4,
                         [&](RankInWorld world) -> absl::Status {
                           SmallModel model(layout, world.rank);
                           FillPattern(model.state().tensors);
                           return Save(storage_, kDirectory.native(), model.state(), world.exchange,
                                       {.save_id = "s", .max_chunk_bytes = 600}, world.stream,
                                       world.memory)
                               .status();
                         }),
                IsOk());
    ASSERT_THAT(Commit(storage_, kDirectory), IsOk());
    const std::vector<std::string> names = storage_.List(kDirectory).value();
    for (const std::string& name : names) written_[name] = Read(name);
  }

  std::string Read(std::string_view name) { return ReadText(storage_, kDirectory / name).value(); }
  void Write(std::string_view name, std::string_view text) {
    ASSERT_THAT(WriteText(storage_, kDirectory / name, text), IsOk());
  }

  MemoryStorage storage_;
  std::map<std::string, std::string> written_;
};

TEST_F(RepairTest, WhatFollowsFromTheRestIsMadeAgainByteByByte) {
  EXPECT_THAT(RepairCheckpoint(storage_, kDirectory), IsOkAndHolds(IsEmpty()));
  for (const std::string_view name : {kTorchMetadataName, kBackendName, kBlockSumsName}) {
    const std::string whole = written_.at(std::string(name));
    std::string flipped = whole;
    flipped[whole.size() / 2] ^= 1;
    for (const std::string& damaged : {std::string(), whole.substr(0, whole.size() - 1), flipped}) {
      Write(name, damaged);
      EXPECT_THAT(RepairCheckpoint(storage_, kDirectory), IsOkAndHolds(ElementsAre(name)));
      EXPECT_EQ(Read(name), whole) << name;
    }
    ASSERT_THAT(storage_.Remove(kDirectory / name), IsOk());
    EXPECT_THAT(RepairCheckpoint(storage_, kDirectory), IsOkAndHolds(ElementsAre(name)));
  }
  for (const auto& [name, text] : written_) EXPECT_EQ(Read(name), text) << name;
  EXPECT_EQ(storage_.List(kDirectory).value().size(), written_.size());
  EXPECT_THAT(VerifyCheckpoint(storage_, kDirectory)->damages, IsEmpty());
}

// The index of others needs no element; sums of damaged elements would hide the damage.
TEST_F(RepairTest, DamagedElementsGetNoChecksums) {
  const Manifest manifest = ParseManifest(written_.at("manifest.json")).value();
  const auto& [key, tensor] = *manifest.tensors.begin();
  const std::string& file = manifest.files[tensor.chunks[0].file].name;
  std::string damaged = written_.at(file);
  damaged[tensor.chunks[0].offset] ^= 1;
  Write(file, damaged);
  Write(kTorchMetadataName, "");
  EXPECT_THAT(RepairCheckpoint(storage_, kDirectory),
              IsOkAndHolds(ElementsAre(kTorchMetadataName)));
  Write(kBlockSumsName, "");
  EXPECT_THAT(RepairCheckpoint(storage_, kDirectory),
              StatusIs(absl::StatusCode::kDataLoss, AllOf(HasSubstr(file), HasSubstr(key))));
  EXPECT_EQ(Read(kBlockSumsName), "");
}

TEST_F(RepairTest, WithoutAManifestThatHoldsNothingIsMade) {
  Write(kTorchMetadataName, "");
  Write(kManifestName, written_.at("manifest.json") + " ");
  EXPECT_THAT(RepairCheckpoint(storage_, kDirectory), StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_EQ(Read(kTorchMetadataName), "");
}

// Of a writer with another text, such as an older one, the file stays away.
TEST_F(RepairTest, AFileThatComesOutAsAnotherOneIsNotPutThere) {
  Manifest manifest = ParseManifest(written_.at("manifest.json")).value();
  for (ManifestFile& file : manifest.files) file.bytes += file.name == kTorchMetadataName ? 1 : 0;
  Write(kManifestName, ManifestText(manifest));
  ASSERT_THAT(Commit(storage_, kDirectory), IsOk());
  ASSERT_THAT(storage_.Remove(kDirectory / kTorchMetadataName), IsOk());
  EXPECT_THAT(RepairCheckpoint(storage_, kDirectory),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("made again it has")));
  EXPECT_FALSE(storage_.Exists(kDirectory / kTorchMetadataName));
}

}  // namespace
}  // namespace hetero
