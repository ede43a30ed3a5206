#include "hetero/telemetry/event_file.h"

#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/telemetry/event/event.pb.h"
#include "hetero/telemetry/event_file_reader.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::SizeIs;

std::string FreshFolder(std::string_view name) {
  const std::string folder = absl::StrCat(::testing::TempDir(), "/", name);
  std::filesystem::remove_all(folder);
  return folder;
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

TEST(EventFileTest, DecodesToWhatWasAdded) {
  const std::string folder = FreshFolder("decode/nested");
  const absl::Time start = absl::FromUnixSeconds(1700000000);
  auto file = EventFile::Create(folder, start);
  ASSERT_THAT(file, IsOk());
  EXPECT_THAT((*file)->path(), HasSubstr("/events.out.tfevents.1700000000."));
  EXPECT_TRUE((*file)->path().ends_with(absl::StrCat(".", getpid())));
  (*file)->AddScalars(7, start + absl::Milliseconds(1500),
                      std::vector<Scalar>{{"lm loss", 6.25}, {"lm loss vs samples", NAN}});
  (*file)->AddScalars(8, start, {});
  ASSERT_THAT((*file)->Flush(), IsOk());

  auto events = ReadEventsIn(folder);
  ASSERT_THAT(events, IsOk());
  ASSERT_THAT(*events, SizeIs(2));
  EXPECT_EQ((*events)[0].file_version(), "brain.Event:2");
  EXPECT_EQ((*events)[0].wall_time(), 1700000000.0);
  EXPECT_EQ((*events)[1].wall_time(), 1700000001.5);
  EXPECT_EQ((*events)[1].step(), 7);
  ASSERT_THAT((*events)[1].summary().value(), SizeIs(2));
  EXPECT_EQ((*events)[1].summary().value(0).tag(), "lm loss");
  EXPECT_EQ((*events)[1].summary().value(0).simple_value(), 6.25f);
  EXPECT_TRUE(std::isnan((*events)[1].summary().value(1).simple_value()));
  EXPECT_THAT((*file)->Close(), IsOk());
}

TEST(EventFileTest, EncodesLikeTensorBoardsOwnWriter) {
  const std::string golden = ReadFile("telemetry/testdata/golden.tfevents");
  auto events = DecodeEvents(golden);
  ASSERT_THAT(events, IsOk());
  ASSERT_THAT(*events, SizeIs(4));
  EXPECT_EQ((*events)[0].file_version(), "brain.Event:2");

  const std::string folder = FreshFolder("golden");
  auto file = EventFile::Create(folder);
  ASSERT_THAT(file, IsOk());
  std::string version_record;
  internal::AppendTfRecord((*events)[0].SerializeAsString(), version_record);
  for (size_t i = 1; i < events->size(); ++i) {
    const TensorBoardEvent& event = (*events)[i];
    std::vector<Scalar> scalars;
    for (const auto& value : event.summary().value()) {
      scalars.push_back({value.tag(), value.simple_value()});
    }
    (*file)->AddScalars(event.step(), absl::FromUnixMicros(std::llround(event.wall_time() * 1e6)),
                        scalars);
  }
  ASSERT_THAT((*file)->Close(), IsOk());

  // The first records differ: only TensorBoard's names the software that wrote it.
  constexpr size_t kFirstRecordBytes = 8 + 4 + 24 + 4;
  const size_t golden_first_bytes = version_record.size();
  EXPECT_GT(golden_first_bytes, kFirstRecordBytes);
  EXPECT_EQ(ReadFile((*file)->path()).substr(kFirstRecordBytes), golden.substr(golden_first_bytes));
}

TEST(EventFileTest, ThreadsAddAndFilesOfOneSecondDoNotClash) {
  const std::string folder = FreshFolder("threads");
  const absl::Time now = absl::Now();
  auto first = EventFile::Create(folder, now);
  auto second = EventFile::Create(folder, now);
  ASSERT_THAT(first, IsOk());
  ASSERT_THAT(second, IsOk());
  EXPECT_NE((*first)->path(), (*second)->path());

  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&file = **first] {
      for (int step = 0; step < 500; ++step) {
        file.AddScalars(step, absl::Now(), std::vector<Scalar>{{"x", 1.0 * step}});
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_THAT((*first)->Close(), IsOk());
  auto events = DecodeEvents(ReadFile((*first)->path()));
  ASSERT_THAT(events, IsOk());
  EXPECT_THAT(*events, SizeIs(1 + 4 * 500));
}

TEST(EventFileTest, ReportsWhatPreventsWriting) {
  const std::string blocker = absl::StrCat(FreshFolder("blocker"), ".file");
  std::ofstream(blocker) << "a file where a folder should be";
  EXPECT_THAT(EventFile::Create(blocker + "/runs").status().message(), HasSubstr(blocker));
}

TEST(EventFileReaderTest, NamesTheBrokenRecord) {
  const std::string golden = ReadFile("telemetry/testdata/golden.tfevents");
  for (size_t size = 1; size < golden.size(); ++size) {
    const auto events = DecodeEvents(std::string_view(golden).substr(0, size));
    if (events.ok()) continue;  // cut between two records
    EXPECT_THAT(events, StatusIs(absl::StatusCode::kDataLoss)) << size << " bytes";
  }
  for (size_t i = 0; i < golden.size(); ++i) {
    std::string broken = golden;
    broken[i] ^= 0x10;
    EXPECT_THAT(DecodeEvents(broken), StatusIs(absl::StatusCode::kDataLoss)) << "byte " << i;
  }
}

}  // namespace
}  // namespace hetero
