#include "hetero/trainer/testing/run_checkpoint.h"

#include <algorithm>
#include <cstdint>
#include <fstream>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/ckpt/inspect/tensors.h"
#include "hetero/ckpt/storage/posix_storage.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {

namespace fs = std::filesystem;

namespace {

void FlipByte(const fs::path& path, int64_t offset) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(offset);
  const char byte = static_cast<char>(file.get() ^ 1);
  file.seekp(offset);
  file.put(byte);
  ASSERT_TRUE(file.good()) << path;
}

}  // namespace

proto::RunConfig EightSteps(std::vector<std::string> assignments) {
  assignments.push_back("train_steps=8");
  return RecipeConfig("mock_vlm_tiny", assignments);
}

std::vector<std::string> NamesIn(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(TestFolder() / folder)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with(".")) names.push_back(name);
  }
  std::ranges::sort(names);
  return names;
}

fs::path CheckpointIn(std::string_view folder, int iteration) {
  return TestFolder() / folder / absl::StrCat("iter_", absl::Dec(iteration, absl::kZeroPad7));
}

DifferenceReport CompareCheckpoints(const fs::path& first, const fs::path& second) {
  PosixStorage storage;
  const auto a = StoredTensors::Open(storage, first);
  const auto b = StoredTensors::Open(storage, second);
  EXPECT_THAT(a, absl_testing::IsOk());
  EXPECT_THAT(b, absl_testing::IsOk());
  return CompareTensors(**a, **b).value();
}

// The largest file of a checkpoint holds tensors; in its middle there is some payload.
void DamageCheckpoint(const fs::path& checkpoint) {
  fs::path largest;
  for (const auto& entry : fs::directory_iterator(checkpoint)) {
    if (largest.empty() || entry.file_size() > fs::file_size(largest)) largest = entry.path();
  }
  for (int64_t offset = 0; offset < static_cast<int64_t>(fs::file_size(largest)); offset += 4096) {
    FlipByte(largest, offset);
  }
}

void MakeForeign(const fs::path& checkpoint) {
  for (const char* name : {"manifest.json", "manifest.crc", "COMMIT"}) {
    fs::remove(checkpoint / name);
  }
}

nlohmann::json ResumeReport(const proto::RunConfig& config) {
  fs::path newest;
  for (const auto& run : fs::directory_iterator(TestFolder() / config.logging().folder())) {
    if (run.path() > newest) newest = run.path();
  }
  return nlohmann::json::parse(std::ifstream(newest / "resume_report.json"));
}

}  // namespace hetero
