// State in a GPU's memory: copied beside its work, and loaded into views with gaps.

#include <cstdint>
#include <memory>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/ckpt/exchange.h"
#include "hetero/ckpt/load.h"
#include "hetero/ckpt/save.h"
#include "hetero/ckpt/storage/memory_storage.h"
#include "hetero/ckpt/testing/pattern.h"
#include "hetero/ckpt/testing/world.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/copy.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/stream.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

constexpr Device kGpu{DeviceKind::kCuda};
// 12 MB: three blocks, and a ring of two.
constexpr int64_t kRows = 1024, kColumns = 3000;

TEST(DeviceCudaTest, StateMayChangeWhenItIsCopiedAndComesBackInOtherPieces) {
  MemoryLedger ledger;
  Arena workspace = Arena::Create(kGpu, MemoryLabel::kWorkspace, 1 << 20, ledger).value();
  const std::unique_ptr<Stream> stream = Stream::Create(kGpu, workspace).value();
  const Buffer memory =
      Buffer::Allocate(kGpu, MemoryLabel::kWeights, kRows * kColumns * 4, ledger).value();
  const TensorView device = memory.View(DType::kF32, {kRows, kColumns});
  const WholeTensor host("w", DType::kF32, {kRows, kColumns});
  const TensorView on_host = host.tensor().pieces[0].local;
  FillPattern({{host.tensor()}});
  ASSERT_THAT(CopyToDevice(on_host, device, *stream), IsOk());

  CheckpointTensor columns = host.tensor();
  columns.pieces = {{.box = {{0, 0}, {kRows, 1000}}, .local = device.Columns(0, 1000)},
                    {.box = {{0, 1000}, {kRows, 2000}}, .local = device.Columns(1000, 2000)}};
  MemoryStorage storage;
  Exchange exchange;
  ASSERT_THAT(storage.MakeDirectory("/c"), IsOk());
  Saver saver(storage, exchange, ledger);
  ASSERT_THAT(saver.Begin("/c", {.tensors = {columns}},
                          {.save_id = "s", .num_files = 1, .ring_bytes = 1}, *stream),
              IsOk());
  saver.AwaitCopied();
  FillValue({{host.tensor()}}, 1);
  ASSERT_THAT(CopyToDevice(on_host, device, *stream), IsOk());
  ASSERT_THAT(saver.Finish(), IsOk());
  ASSERT_THAT(Commit(storage, "/c"), IsOk());

  CheckpointTensor rows = host.tensor();
  rows.pieces = {{.box = {{0, 0}, {500, kColumns}}, .local = device.Rows(0, 500)},
                 {.box = {{500, 0}, {524, 7}}, .local = device.Rows(500, 524).Columns(0, 7)},
                 {.box = {{500, 7}, {524, kColumns - 7}},
                  .local = device.Rows(500, 524).Columns(7, kColumns - 7)}};
  CheckpointState state{.tensors = {rows}};
  ASSERT_THAT(Load(storage, "/c", state, exchange, {}, *stream, ledger), IsOk());
  ASSERT_THAT(CopyToHost(device, on_host, *stream), IsOk());
  ASSERT_THAT(stream->Synchronize(), IsOk());
  EXPECT_EQ(PatternDifference({{host.tensor()}}), "");
}

}  // namespace
}  // namespace hetero
