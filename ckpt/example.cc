// Two ranks save halves of a tensor; one rank loads it whole.

#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/ckpt.h"
#include "hetero/ckpt/format/manifest.h"
#include "hetero/ckpt/storage/memory_storage.h"
#include "hetero/comm/comm.h"

namespace hetero {
namespace {

absl::Status SaveHalf(Storage& storage, GlobalRank rank, CommunicatorFactory& factory) {
  Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
  Stream stream(Device{}, workspace);
  HETERO_ASSIGN_OR_RETURN(const auto world,
                          factory.Create({"checkpoint", {GlobalRank(0), GlobalRank(1)}}));
  Exchange exchange(world.get());

  std::vector<float> rows(16);
  const int64_t first = 2 * rank.value();
  std::iota(rows.begin(), rows.end(), static_cast<float>(8 * first));
  const CheckpointTensor weight{
      .key = "language_model.weight",
      .dtype = DType::kF32,
      .shape = {4, 8},
      .pieces = {{.box = {{first, 0}, {2, 8}}, .local = TensorView(std::span(rows), {2, 8})}}};

  MemoryLedger memory;
  Saver saver(storage, exchange, memory);
  HETERO_RETURN_IF_ERROR(saver.Begin("/checkpoint", {.tensors = {weight}},
                                     {.save_id = "example", .iteration = 10}, stream));
  // ... forward and backward of the next step ...
  saver.AwaitCopied();
  // ... its update ...
  HETERO_ASSIGN_OR_RETURN(const SaveReport report, saver.Finish());
  return report.total_bytes > 4 * 32 ? absl::OkStatus() : absl::InternalError("too few bytes");
}

TEST(Example, OneRankLoadsWhatTwoSaved) {
  MemoryStorage storage;
  ASSERT_TRUE(storage.MakeDirectory("/checkpoint").ok());
  ASSERT_EQ(
      RunRanks(2, [&](GlobalRank rank,
                      CommunicatorFactory& factory) { return SaveHalf(storage, rank, factory); }),
      absl::OkStatus());
  // ckpt/publish does this, and more, where a crash may come.
  const std::string manifest = ReadText(storage, "/checkpoint/manifest.json").value();
  ASSERT_TRUE(WriteText(storage, "/checkpoint/COMMIT", CommitText(manifest)).ok());

  std::vector<float> all(32);
  CheckpointState state{.tensors = {{.key = "language_model.weight",
                                     .shape = {4, 8},
                                     .pieces = {{.box = {{0, 0}, {4, 8}},
                                                 .local = TensorView(std::span(all), {4, 8})}}}}};
  Exchange alone;
  Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
  Stream stream(Device{}, workspace);
  MemoryLedger memory;
  const absl::StatusOr<LoadReport> report =
      Load(storage, "/checkpoint", state, alone, {}, stream, memory);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->iteration, 10);
  EXPECT_EQ(all[31], 31);
}

}  // namespace
}  // namespace hetero
