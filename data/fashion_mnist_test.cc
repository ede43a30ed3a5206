#include "hetero/data/fashion_mnist.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/file/file_lock.h"
#include "hetero/data/image/codec.h"
#include "hetero/data/image/image.h"
#include "hetero/data/tar/shard.h"
#include "hetero/data/webdataset/dataset.h"

namespace hetero::data {
namespace {

namespace fs = std::filesystem;
using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::string BigEndian(uint32_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<char>(value >> shift));
  return bytes;
}

void WriteGzip(const fs::path& path, const std::string& bytes) {
  gzFile file = gzopen(path.c_str(), "wb");
  ASSERT_EQ(gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size())),
            static_cast<int>(bytes.size()));
  ASSERT_EQ(gzclose(file), Z_OK);
}

uint8_t PixelOf(int sample, int pixel) {
  return static_cast<uint8_t>(sample * 31 + pixel * 7 + pixel / 28);
}

// Files of the data set's form with 23 training and 7 test images.
class FashionMnistTest : public ::testing::Test {
 protected:
  static constexpr int kTrain = 23;
  static constexpr int kTest = 7;

  void SetUp() override {
    root_ = fs::path(::testing::TempDir()) /
            ::testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::remove_all(root_);
    fs::create_directories(root_ / "source");
    WriteSplit("train", kTrain);
    WriteSplit("t10k", kTest);
  }

  void WriteSplit(const std::string& prefix, int count, int num_labels = -1) {
    std::string images = BigEndian(0x803) + BigEndian(count) + BigEndian(28) + BigEndian(28);
    std::string labels = BigEndian(0x801) + BigEndian(num_labels < 0 ? count : num_labels);
    for (int i = 0; i < count; ++i) {
      for (int pixel = 0; pixel < 784; ++pixel)
        images.push_back(static_cast<char>(PixelOf(i, pixel)));
    }
    for (int i = 0; i < (num_labels < 0 ? count : num_labels); ++i)
      labels.push_back(static_cast<char>(i % 10));
    WriteGzip(root_ / "source" / (prefix + "-images-idx3-ubyte.gz"), images);
    WriteGzip(root_ / "source" / (prefix + "-labels-idx1-ubyte.gz"), labels);
  }

  FashionMnistOptions Options() const {
    return {.source = root_ / "source", .output = root_ / "cache/fashion", .samples_per_shard = 10};
  }

  void ExpectNothingLeftBehind() const {
    for (const auto& entry : fs::directory_iterator(root_ / "cache")) {
      EXPECT_EQ(entry.path().extension(), ".lock") << entry.path();
    }
  }

  fs::path root_;
};

TEST_F(FashionMnistTest, ImagesAndCaptionsComeBackInTheOrderOfTheFiles) {
  const FashionMnistReport report = PrepareFashionMnist(Options()).value();
  EXPECT_FALSE(report.was_ready);
  EXPECT_EQ(report.prepared.num_samples, kTrain + kTest);
  EXPECT_EQ(report.prepared.num_shards, 4);
  EXPECT_TRUE(report.prepared.excluded.empty());
  for (const auto& [split, count] :
       {std::pair<std::string, int>("train", kTrain), {"test", kTest}}) {
    const auto dataset = Dataset::Open(Options().output, split).value();
    ASSERT_EQ(dataset->size(), count);
    RawSample sample;
    Image image;
    for (int i = 0; i < count; ++i) {
      ASSERT_THAT(dataset->Read(i, sample), IsOk());
      EXPECT_EQ(sample.Find("txt")->bytes, kFashionLabels[i % 10]);
      ASSERT_THAT(DecodeImage(sample.Find("png")->bytes, image), IsOk());
      ASSERT_EQ(image.size, (ImageSize{28, 28}));
      ASSERT_EQ(image.channels, 1);
      for (int pixel = 0; pixel < 784; ++pixel) ASSERT_EQ(image.pixels[pixel], PixelOf(i, pixel));
    }
  }
}

TEST_F(FashionMnistTest, PreparedOnceEvenWhenRunsRace) {
  std::vector<std::thread> threads;
  std::vector<int> wrote(4, -1);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      const auto report = PrepareFashionMnist(Options());
      if (report.ok()) wrote[t] = report->was_ready ? 0 : 1;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(wrote, ::testing::UnorderedElementsAre(1, 0, 0, 0));
}

// A shared cache may lie where nobody can make a lock file, and others may hold the lock.
TEST_F(FashionMnistTest, APreparedFolderIsOnlyReadAndNeedsNoLock) {
  ASSERT_THAT(PrepareFashionMnist(Options()), IsOk());
  const fs::path lock = fs::path(Options().output) += ".lock";
  {
    const auto held = FileLock::Acquire(lock);
    EXPECT_TRUE(PrepareFashionMnist(Options()).value().was_ready);
  }
  fs::remove(lock);
  fs::create_directories(lock);  // cannot be opened as a file, by root neither
  EXPECT_TRUE(PrepareFashionMnist(Options()).value().was_ready);
}

TEST_F(FashionMnistTest, AStopEndsEveryPartOfThePreparationAndLeavesNothing) {
  int64_t num_questions = 0;
  FashionMnistOptions options = Options();
  options.work.stop_requested = [&] {
    ++num_questions;
    return false;
  };
  ASSERT_THAT(PrepareFashionMnist(options), IsOk());
  // Asked at least before every sample is written and before every sample is decoded.
  EXPECT_GE(num_questions, 2 * (kTrain + kTest));
  for (int64_t last = 0; last < num_questions; last += 7) {
    fs::remove_all(Options().output);
    int64_t asked = 0;
    options.work.stop_requested = [&] { return asked++ >= last; };
    EXPECT_THAT(PrepareFashionMnist(options), StatusIs(absl::StatusCode::kCancelled));
    EXPECT_EQ(asked, last + 1);
    ExpectNothingLeftBehind();
  }
}

TEST_F(FashionMnistTest, WhatAStoppedRunLeftIsReplaced) {
  fs::path partial = Options().output;
  partial += ".partial";
  fs::create_directories(partial / ".nv-meta.tmp");
  std::ofstream(partial / "train-000.tar") << "half";
  std::ofstream(partial / "junk.tar") << "half";
  fs::create_directories(Options().output);  // made by the user, empty
  EXPECT_EQ(PrepareFashionMnist(Options()).value().prepared.num_samples, kTrain + kTest);
  EXPECT_FALSE(fs::exists(partial));
}

TEST_F(FashionMnistTest, SourceFaultsAreNamedAndLeaveNothing) {
  fs::resize_file(root_ / "source/t10k-images-idx3-ubyte.gz", 300);
  EXPECT_THAT(PrepareFashionMnist(Options()),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("t10k-images-idx3-ubyte.gz")));
  ExpectNothingLeftBehind();
  WriteSplit("t10k", kTest, kTest - 1);
  EXPECT_THAT(PrepareFashionMnist(Options()),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("6 labels for 7 images")));
  fs::remove(root_ / "source/train-labels-idx1-ubyte.gz");
  EXPECT_THAT(PrepareFashionMnist(Options()),
              StatusIs(absl::StatusCode::kNotFound, AllOf(HasSubstr("train-labels-idx1-ubyte.gz"),
                                                          HasSubstr("dataset-fashion-mnist"))));
  ExpectNothingLeftBehind();
}

TEST_F(FashionMnistTest, ForeignAndDamagedFoldersAreLeftAlone) {
  fs::create_directories(Options().output);
  std::ofstream(Options().output / "notes.txt") << "mine";
  EXPECT_THAT(PrepareFashionMnist(Options()),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("name another folder"), Not(HasSubstr("delete")))));
  EXPECT_TRUE(fs::exists(Options().output / "notes.txt"));

  fs::remove_all(Options().output);
  ASSERT_THAT(PrepareFashionMnist(Options()), IsOk());
  fs::remove(Options().output / "train-001.tar");
  EXPECT_THAT(PrepareFashionMnist(Options()), StatusIs(absl::StatusCode::kFailedPrecondition,
                                                       AllOf(HasSubstr("train-001.tar is missing"),
                                                             HasSubstr("delete the folder"))));
}

TEST_F(FashionMnistTest, ACutShardOrIndexOfTheCacheIsDataLoss) {
  for (const char* name : {"train-001.tar", "test-000.tar.idx"}) {
    fs::remove_all(Options().output);
    ASSERT_THAT(PrepareFashionMnist(Options()), IsOk());
    const fs::path path = Options().output / name;
    fs::resize_file(path, fs::file_size(path) / 2);
    EXPECT_THAT(
        PrepareFashionMnist(Options()),
        StatusIs(absl::StatusCode::kDataLoss,
                 AllOf(HasSubstr(path.native()),
                       HasSubstr(absl::StrCat("delete the folder ", Options().output.native())))));
  }
}

// Runs PrepareFashionMnist with so many descriptors left.
absl::Status PrepareWithDescriptors(int count, const FashionMnistOptions& options) {
  const int lowest_free = dup(0);
  close(lowest_free);
  rlimit before;
  EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit low = {.rlim_cur = static_cast<rlim_t>(lowest_free + count),
                      .rlim_max = before.rlim_max};
  EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  absl::Status status = PrepareFashionMnist(options).status();
  EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  return status;
}

TEST_F(FashionMnistTest, TheLimitOfOpenFilesIsNoReasonToDeleteOrInstallAnything) {
  const auto refused =
      StatusIs(absl::StatusCode::kResourceExhausted,
               AllOf(HasSubstr("ulimit -n"), Not(HasSubstr("delete")), Not(HasSubstr("install"))));
  for (const int count : {0, 1}) EXPECT_THAT(PrepareWithDescriptors(count, Options()), refused);
  ASSERT_THAT(PrepareFashionMnist(Options()), IsOk());
  for (const int count : {0, 1}) EXPECT_THAT(PrepareWithDescriptors(count, Options()), refused);
  EXPECT_THAT(PrepareWithDescriptors(2, Options()), IsOk());
}

TEST_F(FashionMnistTest, AFifoInTheArchiveIsNamedAndNotWaitedFor) {
  const fs::path path = root_ / "source/t10k-labels-idx1-ubyte.gz";
  fs::remove(path);
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  EXPECT_THAT(PrepareFashionMnist(Options()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr(absl::StrCat(path.native(), " is a FIFO"))));
}

}  // namespace
}  // namespace hetero::data
