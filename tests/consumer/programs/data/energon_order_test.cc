// Says which samples two ranks would read first with Megatron-Energon's loader: of a blend of two
// data sets of made-up shards, then of the state that it was left in, on one rank.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/base/status.h"
#include "hetero/data/energon/loader_plan.h"
#include "hetero/data/energon/rank_loader.h"
#include "hetero/data/energon/read_blend.h"

namespace {

using namespace hetero::data;  // NOLINT: an example

using Plan = std::shared_ptr<const LoaderPlan>;

absl::Status Write(const std::filesystem::path& path, std::string_view text) {
  std::ofstream file(path);
  file << text << std::flush;
  return file ? absl::OkStatus() : absl::UnavailableError("cannot write " + path.native());
}

absl::Status WriteDataSet(const std::filesystem::path& root, std::string_view counts) {
  const std::filesystem::path folder = root / ".nv-meta";
  std::filesystem::create_directories(folder);
  HETERO_RETURN_IF_ERROR(
      Write(folder / ".info.json", "{\"shard_counts\": {" + std::string(counts) + "}}"));
  return Write(folder / "split.yaml", "split_parts: {train: [\"s{0..1}.tar\"]}\nexclude: []\n");
}

absl::StatusOr<Plan> MakePlan(const BlendedFolders& blend, LoaderShape shape) {
  return LoaderPlan::Make({.splits = blend.splits, .mode = blend.mode, .shape = shape});
}

void Print(const BlendedFolders& blend, const std::vector<SampleReference>& batch) {
  for (const SampleReference& sample : batch) {
    const ShardSample at = blend.splits[sample.data_set].samples.Find(sample.place);
    std::printf("%s/%s sample %lld\n", blend.folders[sample.data_set].folder.filename().c_str(),
                at.shard.c_str(), static_cast<long long>(at.index));
  }
}

absl::Status Run(const std::filesystem::path& root) {
  HETERO_RETURN_IF_ERROR(WriteDataSet(root / "web", "\"s0.tar\": 40, \"s1.tar\": 35"));
  HETERO_RETURN_IF_ERROR(WriteDataSet(root / "books", "\"s0.tar\": 12, \"s1.tar\": 9"));
  HETERO_RETURN_IF_ERROR(Write(
      root / "blend.yaml",
      "__module__: megatron.energon\n__class__: MetadatasetV2\nsplits:\n  train:\n    blend:\n"
      "      - {weight: 3, path: web}\n      - {weight: 1, path: books}\n"));
  HETERO_ASSIGN_OR_RETURN(const BlendedFolders blend, ReadBlend(root / "blend.yaml"));

  std::vector<std::string> records;
  HETERO_ASSIGN_OR_RETURN(const Plan two, MakePlan(blend, {.num_ranks = 2, .num_workers = 1}));
  std::vector<std::vector<SampleReference>> next;
  for (int64_t rank = 0; rank < 2; ++rank) {
    RankLoader loader(two, rank);
    for (int step = 0; step < 3; ++step) Print(blend, loader.Next());
    for (const std::string& record : loader.Save()) records.push_back(record);
    next.push_back(loader.Next());
  }

  HETERO_ASSIGN_OR_RETURN(const Plan one, MakePlan(blend, {.num_ranks = 1, .num_workers = 2}));
  HETERO_ASSIGN_OR_RETURN(RankLoader loader, RankLoader::Restore(one, 0, records));
  for (const std::vector<SampleReference>& expected : next) {
    if (loader.Next() != expected) return absl::InternalError("one rank reads something else");
  }
  return absl::OkStatus();
}

}  // namespace

int main() {
  const char* const folder = std::getenv("TEST_TMPDIR");
  const absl::Status status =
      Run(std::filesystem::path(folder != nullptr ? folder : "/tmp") / "energon_order");
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
