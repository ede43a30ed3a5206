// Saves whose constants lie in a file of an earlier one.

#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/ckpt/save.h"
#include "hetero/ckpt/storage/memory_storage.h"
#include "hetero/ckpt/storage/testing/fault_storage.h"
#include "hetero/ckpt/testing/f0.h"
#include "hetero/ckpt/testing/pattern.h"
#include "hetero/ckpt/testing/world.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/stream.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

SaveOptions At(int64_t iteration) { return {.save_id = "s", .iteration = iteration}; }

// w of F0 is constant, b is not.
struct Constants : F0 {
  Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
  Stream stream{Device{}, workspace};

  Constants() { state.tensors[0].pieces[0].constant = true; }

  static SaveOptions After(std::string previous, int64_t iteration) {
    SaveOptions options = At(iteration);
    options.incremental = true;
    options.previous = std::move(previous);
    return options;
  }
};

TEST(IncrementalSaveTest, WhatIsConstantIsWrittenOnceAndStaysWhereOlderSavesGo) {
  MemoryStorage disk;
  FaultStorage storage(disk, [](const StorageCall&) { return StorageFault{}; });
  Constants saved;
  Exchange alone;
  MemoryLedger memory;
  Saver saver(storage, alone, memory);
  const auto save = [&](const std::string& directory, std::string previous, int64_t iteration) {
    EXPECT_THAT(storage.MakeDirectory(directory), IsOk());
    FillPattern(std::span(saved.state.tensors).subspan(1), static_cast<int>(iteration));
    EXPECT_THAT(saver.Begin(directory, saved.state,
                            Constants::After(std::move(previous), iteration), saved.stream),
                IsOk());
    return saver.Finish().value();
  };
  EXPECT_EQ(save("/1", "", 1).linked_bytes, 0);
  const SaveReport second = save("/2", "/1", 2);
  EXPECT_GT(second.linked_bytes, 32 * 4);
  EXPECT_LT(second.linked_bytes, second.bytes);
  EXPECT_EQ(ReadText(storage, "/1/__0_2.distcp").value(),
            ReadText(storage, "/2/__0_2.distcp").value());
  ASSERT_THAT(storage.RemoveTree("/1"), IsOk());
  // One that is gone, and a file system where files have one name: it is written again.
  EXPECT_EQ(save("/3", "/1", 3).linked_bytes, 0);
  EXPECT_EQ(save("/4", "/2", 4).linked_bytes, second.linked_bytes);
  for (const int64_t iteration : {2, 3, 4}) {
    const std::string directory = absl::StrCat("/", iteration);
    ASSERT_THAT(Commit(storage, directory), IsOk());
    F0 loaded;
    FillValue(loaded.state.tensors, 77);
    ASSERT_THAT(LoadAlone(storage, directory, loaded.state), IsOk());
    EXPECT_EQ(PatternDifference(std::span(loaded.state.tensors).first(1)), "");
    EXPECT_EQ(
        PatternDifference(std::span(loaded.state.tensors).subspan(1), static_cast<int>(iteration)),
        "");
  }
}

TEST(IncrementalSaveTest, ConstantsAreWrittenAgainWhereFilesHaveOneName) {
  MemoryStorage disk;
  FaultStorage storage(disk, [](const StorageCall& call) {
    return call.operation == StorageOperation::kLink
               ? StorageFault{.kind = StorageFault::Kind::kError, .error = EPERM}
               : StorageFault{};
  });
  Constants saved;
  Exchange alone;
  MemoryLedger memory;
  Saver saver(storage, alone, memory);
  std::string previous;
  for (const std::string directory : {"/1", "/2"}) {
    ASSERT_THAT(storage.MakeDirectory(directory), IsOk());
    ASSERT_THAT(saver.Begin(directory, saved.state, Constants::After(previous, 1), saved.stream),
                IsOk());
    EXPECT_EQ(saver.Finish().value().linked_bytes, 0);
    previous = directory;
  }
  EXPECT_EQ(ReadText(storage, "/1/__0_2.distcp").value(),
            ReadText(storage, "/2/__0_2.distcp").value());
}

}  // namespace
}  // namespace hetero
