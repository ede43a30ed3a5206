// Any bytes as an "index.sqlite": what the exclude list names by it are samples of the data set,
// and what is wrong with it is DATA_LOSS.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/data/file/scratch_folder.h"
#include "hetero/data/webdataset/excluded_samples.h"
#include "hetero/data/webdataset/memory_database.h"
#include "hetero/data/webdataset/metadata.h"
#include "hetero/data/webdataset/sample_index.h"

namespace hetero::data {
namespace {

std::filesystem::path IndexFile() { return std::filesystem::path(kMetadataFolder) / kIndexFile; }

struct Listed {
  std::string_view shard;
  std::string_view key;
};

constexpr Listed kListed[] = {{"x.tar", "a"}, {"x.tar", "b"}, {"y.tar", "d/c"}, {"y.tar", "7"}};

void CheckDamage(const absl::Status& status) {
  CHECK(status.ok() || absl::IsDataLoss(status)) << status;
}

// Of kListed, those with a key that the database has.
std::vector<std::string> Search(SampleIndex& index) {
  CheckDamage(index.HasMediaMetadata().status());
  CheckDamage(index.KeyAt({.shard_id = 1, .sample_index = 0}).status());
  std::vector<std::string> names;
  for (const auto& [shard, key] : kListed) {
    const absl::StatusOr<std::optional<SampleIndex::Location>> found = index.Find(key);
    CheckDamage(found.status());
    if (!found.ok() || !found->has_value()) continue;
    CheckDamage(index.KeyAt(**found).status());
    names.push_back(std::string(shard) + "/" + std::string(key));
  }
  return names;
}

void FindExcluded(const std::filesystem::path& root, const std::vector<std::string>& names) {
  const DatasetInfo info = {.energon_version = "7.4.1",
                            .shard_counts = {{"x.tar", 2}, {"y.tar", 1}}};
  const absl::StatusOr<std::vector<Exclusion>> found =
      FindNamed(root, "the list has", names, info, [](const std::string&) { return true; });
  CHECK(found.ok() || absl::IsDataLoss(found.status()) || absl::IsInvalidArgument(found.status()))
      << found.status();
  if (!found.ok()) return;
  CHECK_EQ(found->size(), names.size());
  for (const Exclusion& exclusion : *found) {
    CHECK_GE(*exclusion.sample, 0);
    CHECK_LT(*exclusion.sample, exclusion.shard == "x.tar" ? 2 : 1);
  }
}

}  // namespace
}  // namespace hetero::data

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hetero::data;  // NOLINT: the function lives outside the namespace
  static const ScratchFolder& folder = *[] {
    auto made = new ScratchFolder();
    std::filesystem::create_directories(made->path() / kMetadataFolder);
    made->Write(IndexFile(), nullptr, 0);
    return made;
  }();
  static MemoryDatabase& database = *new MemoryDatabase();
  database.Set({reinterpret_cast<const char*>(data), size});
  const absl::StatusOr<std::unique_ptr<SampleIndex>> index =
      SampleIndex::Open(folder.path() / IndexFile());
  CheckDamage(index.status());
  if (!index.ok()) return 0;
  const std::vector<std::string> names = Search(**index);
  if (!names.empty()) FindExcluded(folder.path(), names);
  return 0;
}
