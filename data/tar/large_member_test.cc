// A member that no memory holds is passed over by its header.

#include <array>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/file/file.h"
#include "hetero/data/file/test_folder.h"
#include "hetero/data/tar/format.h"
#include "hetero/data/tar/index.h"
#include "hetero/data/tar/scanner.h"
#include "hetero/data/tar/shard.h"

namespace hetero::data {
namespace {

namespace fs = std::filesystem;
using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::testing::ElementsAre;

constexpr uint64_t kLarge = uint64_t{9} << 30;  // more than the 8 GiB of a plain header

// Counts what is read of a file.
class CountingFile : public RandomAccessFile {
 public:
  explicit CountingFile(std::unique_ptr<RandomAccessFile> file) : file_(std::move(file)) {}

  uint64_t size() const override { return file_->size(); }
  absl::Status Read(uint64_t offset, std::span<char> out) const override {
    num_read_ += out.size();
    return file_->Read(offset, out);
  }
  uint64_t num_read() const { return num_read_; }

 private:
  std::unique_ptr<RandomAccessFile> file_;
  mutable uint64_t num_read_ = 0;
};

std::string Header(std::string_view name, uint64_t size, char type) {
  std::array<char, kTarBlockBytes> block;
  FormatTarHeader(name, size, type, block);
  return std::string(block.data(), block.size());
}

// The large member's size is in a pax header alone; its payload is a hole in the file.
TEST(LargeMemberTest, IsPassedOverAndWhatStandsBehindItIsRead) {
  const fs::path path = FreshFolder("large") / "a.tar";
  const std::string record = FormatPaxRecord("size", std::to_string(kLarge));
  std::string begin = Header("small.txt", 2, '0') + "hi" + std::string(kTarBlockBytes - 2, '\0');
  begin += Header("PaxHeader", record.size(), 'x') + record;
  begin.resize(4 * kTarBlockBytes);
  begin += Header("video.mp4", 0, '0');
  std::string end = Header("last.txt", 3, '0') + "end";
  end.resize(4 * kTarBlockBytes);
  {
    std::ofstream file(path, std::ios::binary);
    file << begin;
    file.seekp(static_cast<std::streamoff>(begin.size() + kLarge));
    file << end;
  }

  const CountingFile file(OpenFile(path).value());
  const ShardContents contents = ScanShard(file, "a.tar").value();
  EXPECT_LT(file.num_read(), 1 << 20);
  const uint64_t behind = begin.size() + kLarge;
  EXPECT_THAT(contents.Index(), ElementsAre(0, 1024, behind, behind + 1024));
  EXPECT_EQ(contents.samples[1].parts[0].payload_offset, begin.size());
  EXPECT_EQ(contents.samples[1].parts[0].payload_size, kLarge);

  ASSERT_THAT(WriteTarIndex(path, contents.Index()), IsOk());
  const std::unique_ptr<TarShard> shard = TarShard::Open(path, "a.tar").value();
  RawSample sample;
  ASSERT_THAT(shard->Read(2, sample), IsOk());
  EXPECT_EQ(sample.key, "last");
  EXPECT_EQ(sample.parts[0].bytes, "end");
  EXPECT_THAT(shard->ReadMember(1, "video", "txt", sample.buffer), IsOkAndHolds(false));
}

}  // namespace
}  // namespace hetero::data
