// What every storage does alike, of disk and memory.

#include "hetero/ckpt/storage/storage.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/ckpt/storage/memory_storage.h"
#include "hetero/ckpt/storage/posix_storage.h"
#include "hetero/ckpt/storage/testing/fault_storage.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::AnyOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

struct AlignedDelete {
  void operator()(std::byte* memory) const { std::free(memory); }
};

// Memory at a multiple of kDirectAlignment.
std::unique_ptr<std::byte, AlignedDelete> AlignedBytes(int64_t bytes) {
  return std::unique_ptr<std::byte, AlignedDelete>(
      static_cast<std::byte*>(std::aligned_alloc(kDirectAlignment, bytes)));
}

enum class Which { kPosix, kMemory, kFault };

class StorageTest : public ::testing::TestWithParam<Which> {
 protected:
  StorageTest() {
    if (GetParam() == Which::kPosix) {
      std::string name = absl::StrCat(::testing::TempDir(), "/storage.XXXXXX");
      root_ = mkdtemp(name.data());
      storage_ = std::make_unique<PosixStorage>();
    } else {
      root_ = "/root";
      storage_ = std::make_unique<MemoryStorage>();
      EXPECT_THAT(storage_->MakeDirectory(root_), IsOk());
    }
    if (GetParam() == Which::kFault) {
      under_ = std::move(storage_);
      storage_ = std::make_unique<FaultStorage>(*under_, -1, StorageFault{});
    }
  }

  fs::path root_;
  std::unique_ptr<Storage> under_;
  std::unique_ptr<Storage> storage_;
};

TEST_P(StorageTest, RangesWrittenInAnyOrderReadBackAlike) {
  std::mt19937_64 generator = FreshGenerator();
  constexpr int64_t kBytes = (int64_t{3} << 20) + 77;
  const auto memory = AlignedBytes((kBytes / kDirectAlignment + 1) * kDirectAlignment);
  for (int64_t i = 0; i < kBytes; ++i) memory.get()[i] = static_cast<std::byte>(generator());

  // Aligned and large, aligned and small, crooked at either end.
  std::vector<int64_t> cuts = {0, 1 << 20, (1 << 20) + 4096, 1500000, 2 << 20, kBytes};
  std::vector<size_t> order = {0, 1, 2, 3, 4};
  std::shuffle(order.begin(), order.end(), generator);
  absl::StatusOr<std::unique_ptr<WritableFile>> file = storage_->Create(root_ / "f");
  ASSERT_THAT(file, IsOk());
  ASSERT_THAT((*file)->Allocate(kBytes), IsOk());
  for (const size_t i : order) {
    const std::span<const std::byte> bytes(memory.get() + cuts[i], cuts[i + 1] - cuts[i]);
    ASSERT_THAT((*file)->Write(cuts[i], bytes), IsOk());
  }
  ASSERT_THAT((*file)->Sync(), IsOk());
  ASSERT_THAT((*file)->Close(), IsOk());

  absl::StatusOr<std::unique_ptr<ReadableFile>> back = storage_->Open(root_ / "f");
  ASSERT_THAT(back, IsOk());
  EXPECT_EQ((*back)->size(), kBytes);
  const auto read = AlignedBytes((kBytes / kDirectAlignment + 1) * kDirectAlignment);
  for (const auto& [begin, end] : std::vector<std::pair<int64_t, int64_t>>{
           {0, kBytes}, {4096, 4096 + (1 << 20)}, {5, 12}, {8192, 2 << 20}, {kBytes, kBytes}}) {
    std::fill_n(read.get(), kBytes, std::byte{0xee});
    ASSERT_THAT((*back)->Read(begin, {read.get(), read.get() + (end - begin)}), IsOk());
    EXPECT_TRUE(std::equal(read.get(), read.get() + (end - begin), memory.get() + begin))
        << begin << " to " << end;
  }
  EXPECT_THAT((*back)->Read(kBytes - 10, {read.get(), read.get() + 11}),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr(absl::StrCat("ends at ", kBytes))));
}

TEST_P(StorageTest, SpaceThatIsReservedReadsAsZeros) {
  absl::StatusOr<std::unique_ptr<WritableFile>> file = storage_->Create(root_ / "f");
  ASSERT_THAT(file, IsOk());
  ASSERT_THAT((*file)->Allocate(5), IsOk());
  ASSERT_THAT((*file)->Write(2, AsBytes("x")), IsOk());
  ASSERT_THAT((*file)->Close(), IsOk());
  EXPECT_THAT(ReadText(*storage_, root_ / "f"), IsOkAndHolds(std::string("\0\0x\0\0", 5)));
}

TEST_P(StorageTest, RanksWriteRangesOfOneFile) {
  EXPECT_THAT(storage_->OpenForWriting(root_ / "f"), StatusIs(absl::StatusCode::kNotFound));
  absl::StatusOr<std::unique_ptr<WritableFile>> first = storage_->Create(root_ / "f");
  ASSERT_THAT(first, IsOk());
  ASSERT_THAT((*first)->Allocate(4), IsOk());
  absl::StatusOr<std::unique_ptr<WritableFile>> second = storage_->OpenForWriting(root_ / "f");
  ASSERT_THAT(second, IsOk());
  ASSERT_THAT((*second)->Write(2, AsBytes("cd")), IsOk());
  ASSERT_THAT((*first)->Write(0, AsBytes("ab")), IsOk());
  for (auto* file : {&first, &second}) {
    ASSERT_THAT((**file)->Sync(), IsOk());
    ASSERT_THAT((**file)->Close(), IsOk());
  }
  EXPECT_THAT(ReadText(*storage_, root_ / "f"), IsOkAndHolds("abcd"));
}

TEST_P(StorageTest, CreateEmptiesWhatIsThere) {
  ASSERT_THAT(WriteText(*storage_, root_ / "f", "long text"), IsOk());
  ASSERT_THAT(WriteText(*storage_, root_ / "f", "new"), IsOk());
  EXPECT_THAT(ReadText(*storage_, root_ / "f"), IsOkAndHolds("new"));
  EXPECT_THAT(ReadText(*storage_, root_ / "f", 2), StatusIs(absl::StatusCode::kDataLoss));
  ASSERT_THAT(ReplaceText(*storage_, root_ / "f", "newer"), IsOk());
  EXPECT_THAT(ReadText(*storage_, root_ / "f"), IsOkAndHolds("newer"));
  EXPECT_THAT(storage_->List(root_), IsOkAndHolds(ElementsAre("f")));
}

TEST_P(StorageTest, OfManyExclusiveFilesOneIsMadeAndWhole) {
  constexpr int kThreads = 8;
  for (int round = 0; round < 10; ++round) {
    const fs::path path = root_ / absl::StrCat("lease", round);
    std::atomic<int> won = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i] {
        const absl::Status made =
            storage_->CreateExclusive(path, std::string(1000, static_cast<char>('a' + i)));
        if (made.ok()) ++won;
        EXPECT_THAT(made, AnyOf(IsOk(), StatusIs(absl::StatusCode::kAlreadyExists)));
        const std::string text = ReadText(*storage_, path).value_or("");
        EXPECT_EQ(text, std::string(1000, text.empty() ? '?' : text[0]));
        EXPECT_EQ(text.size(), 1000);
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(won, 1);
  }
  EXPECT_EQ(storage_->List(root_)->size(), 10);  // no name beside them
}

TEST_P(StorageTest, RenamesReplaceRefuseOrExchange) {
  for (const std::string name : {"a", "b"}) {
    ASSERT_THAT(storage_->MakeDirectory(root_ / name), IsOk());
    ASSERT_THAT(WriteText(*storage_, root_ / name / "in", name), IsOk());
    ASSERT_THAT(WriteText(*storage_, root_ / absl::StrCat(name, ".txt"), name), IsOk());
  }
  EXPECT_THAT(storage_->Rename(root_ / "a", root_ / "b", RenameMode::kNoReplace),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr((root_ / "b").native())));
  EXPECT_THAT(storage_->Rename(root_ / "a.txt", root_ / "b.txt", RenameMode::kNoReplace),
              StatusIs(absl::StatusCode::kAlreadyExists));
  ASSERT_THAT(storage_->Rename(root_ / "a", root_ / "b", RenameMode::kExchange), IsOk());
  EXPECT_THAT(ReadText(*storage_, root_ / "a/in"), IsOkAndHolds("b"));
  EXPECT_THAT(ReadText(*storage_, root_ / "b/in"), IsOkAndHolds("a"));
  EXPECT_THAT(storage_->Rename(root_ / "a", root_ / "c", RenameMode::kExchange),
              StatusIs(absl::StatusCode::kNotFound));
  ASSERT_THAT(storage_->Rename(root_ / "a.txt", root_ / "b.txt", RenameMode::kReplace), IsOk());
  EXPECT_THAT(ReadText(*storage_, root_ / "b.txt"), IsOkAndHolds("a"));
  ASSERT_THAT(storage_->Rename(root_ / "a", root_ / "c", RenameMode::kNoReplace), IsOk());
  EXPECT_THAT(storage_->List(root_), IsOkAndHolds(ElementsAre("b", "b.txt", "c")));
  EXPECT_THAT(storage_->SyncDirectory(root_), IsOk());
}

TEST_P(StorageTest, FoldersAreMadeWithThoseAboveAndRemovedWithAllBelow) {
  ASSERT_THAT(storage_->MakeDirectory(root_ / "a/b/c"), IsOk());
  ASSERT_THAT(storage_->MakeDirectory(root_ / "a/b/c"), IsOk());
  ASSERT_THAT(WriteText(*storage_, root_ / "a/b/f", ""), IsOk());
  EXPECT_THAT(storage_->MakeDirectory(root_ / "a/b/f"), Not(IsOk()));
  EXPECT_THAT(storage_->Remove(root_ / "a"), Not(IsOk()));
  EXPECT_TRUE(storage_->IsDirectory(root_ / "a/b/c"));
  EXPECT_TRUE(storage_->Exists(root_ / "a/b/f"));
  EXPECT_FALSE(storage_->IsDirectory(root_ / "a/b/f"));
  ASSERT_THAT(storage_->RemoveTree(root_ / "a"), IsOk());
  EXPECT_FALSE(storage_->Exists(root_ / "a"));
  EXPECT_THAT(storage_->RemoveTree(root_ / "a"), IsOk());
  EXPECT_GT(storage_->FreeBytes(root_).value_or(0), 0);
}

TEST_P(StorageTest, ErrorsNameThePath) {
  const fs::path absent = root_ / "absent";
  const std::vector<absl::Status> errors = {
      storage_->Open(absent).status(),
      storage_->Create(absent / "f").status(),
      storage_->CreateExclusive(absent / "f", ""),
      storage_->Rename(absent, root_ / "to", RenameMode::kReplace),
      storage_->SyncDirectory(absent),
      storage_->List(absent).status(),
      storage_->Remove(absent),
      storage_->FreeBytes(absent).status(),
  };
  EXPECT_THAT(errors, Each(StatusIs(absl::StatusCode::kNotFound, HasSubstr(absent.native()))));
  EXPECT_THAT(storage_->Open(root_),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is not a regular file")));
}

INSTANTIATE_TEST_SUITE_P(All, StorageTest,
                         ::testing::Values(Which::kPosix, Which::kMemory, Which::kFault),
                         [](const auto& info) {
                           return std::string(info.param == Which::kPosix    ? "Posix"
                                              : info.param == Which::kMemory ? "Memory"
                                                                             : "Fault");
                         });

}  // namespace
}  // namespace hetero
