// Bytes of a small checkpoint that become others: what is loaded is what was saved, or nothing.

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/numbers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/ckpt/format/manifest.h"
#include "hetero/ckpt/load.h"
#include "hetero/ckpt/storage/memory_storage.h"
#include "hetero/ckpt/testing/pattern.h"
#include "hetero/ckpt/testing/small_model.h"
#include "hetero/ckpt/testing/world.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::testing::HasSubstr;

using Path = std::filesystem::path;

// Of how many bytes one is damaged: 1, all of them, when CKPT_DAMAGE_EVERY says so.
int64_t Step() {
  int64_t step = 31;
  const char* const text = std::getenv("CKPT_DAMAGE_EVERY");
  EXPECT_TRUE(text == nullptr || (absl::SimpleAtoi(text, &step) && step > 0)) << text;
  return step;
}

// Whether the file's byte is one of a payload, which every load reads.
bool IsPayload(const Manifest& manifest, const std::string& name, int64_t at) {
  for (const auto& [key, tensor] : manifest.tensors) {
    for (const ManifestChunk& chunk : tensor.chunks) {
      if (manifest.files[chunk.file].name == name && chunk.offset <= at &&
          at < chunk.offset + chunk.bytes) {
        return true;
      }
    }
  }
  return false;
}

TEST(DamageTest, NoFlippedByteIsLoadedAsSomethingElse) {
  MemoryStorage storage;
  const Path directory = "/c";
  SmallModel model({}, 0, SmallModelSize::kTiny);
  FillPattern(model.state().tensors);
  ASSERT_THAT(SaveAlone(storage, directory.native(), model.state()), IsOk());
  const Manifest manifest =
      ParseManifest(ReadText(storage, directory / kManifestName).value()).value();

  int64_t total = 0, refused = 0, loaded = 0;
  const int64_t step = Step();
  int64_t next = static_cast<int64_t>(FreshSeed() % step);
  const std::vector<std::string> names = storage.List(directory).value();
  for (const std::string& name : names) {
    const Path path = directory / name;
    const std::string bytes = ReadText(storage, path).value();
    total += std::ssize(bytes);
    for (; next < std::ssize(bytes); next += step) {
      // Nobody reads what fills a head up to the payload: one of many stands for them.
      if (bytes[next] == 'Z' && next % 64 != 0) continue;
      std::string damaged = bytes;
      damaged[next] = static_cast<char>(damaged[next] ^ 4);
      ASSERT_THAT(WriteText(storage, path, damaged), IsOk());
      FillValue(model.state().tensors, 999);
      const absl::StatusOr<LoadReport> report =
          LoadAlone(storage, directory.native(), model.state(), {.num_readers = 1});
      if (report.ok()) {
        ASSERT_EQ(PatternDifference(model.state().tensors), "") << name << " at " << next;
        ASSERT_FALSE(IsPayload(manifest, name, next)) << name << " at " << next;
        ++loaded;
      } else {
        if (IsPayload(manifest, name, next)) {
          ASSERT_THAT(report.status().message(), HasSubstr(name));
        }
        ++refused;
      }
    }
    next -= std::ssize(bytes);
    ASSERT_THAT(WriteText(storage, path, bytes), IsOk());
  }
  EXPECT_LE(total, 128 << 10);
  EXPECT_GT(refused, 0);
  EXPECT_GT(loaded, 0);
}

}  // namespace
}  // namespace hetero
