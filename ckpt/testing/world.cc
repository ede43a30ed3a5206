#include "hetero/ckpt/testing/world.h"

#include <memory>
#include <utility>

#include "hetero/base/status.h"
#include "hetero/ckpt/format/manifest.h"
#include "hetero/ckpt/plan/box.h"
#include "hetero/ckpt/save.h"
#include "hetero/comm/run_ranks.h"

namespace hetero {

absl::Status RunWorld(int64_t num_ranks, const std::function<absl::Status(RankInWorld)>& body) {
  const auto run = [&](int64_t rank, Communicator* communicator) {
    Exchange exchange(communicator);
    MemoryLedger memory;
    Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
    Stream stream(Device{}, workspace);
    return body({rank, exchange, stream, memory});
  };
  if (num_ranks == 1) return run(0, nullptr);
  Group world;
  for (int64_t rank = 0; rank < num_ranks; ++rank) world.push_back(GlobalRank(rank));
  return RunRanks(num_ranks, [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
    HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<Communicator> communicator,
                            factory.Create({"checkpoint", world}));
    return run(rank.value(), communicator.get());
  });
}

absl::Status Commit(Storage& storage, const std::filesystem::path& directory) {
  HETERO_ASSIGN_OR_RETURN(const std::string manifest, ReadText(storage, directory / kManifestName));
  return WriteText(storage, directory / kCommitName, CommitText(manifest));
}

absl::Status SaveAlone(Storage& storage, std::string_view directory, const CheckpointState& state) {
  HETERO_RETURN_IF_ERROR(storage.MakeDirectory(directory));
  return RunWorld(1, [&](RankInWorld world) -> absl::Status {
    HETERO_RETURN_IF_ERROR(Save(storage, directory, state, world.exchange,
                                {.save_id = "test", .iteration = 10}, world.stream, world.memory));
    return Commit(storage, directory);
  });
}

absl::StatusOr<LoadReport> LoadAlone(Storage& storage, std::string_view directory,
                                     CheckpointState& state, const LoadOptions& options) {
  LoadReport report;
  HETERO_RETURN_IF_ERROR(RunWorld(1, [&](RankInWorld world) -> absl::Status {
    HETERO_ASSIGN_OR_RETURN(report, Load(storage, directory, state, world.exchange, options,
                                         world.stream, world.memory));
    return absl::OkStatus();
  }));
  return report;
}

WholeTensor::WholeTensor(std::string key, DType dtype, std::vector<int64_t> shape)
    : memory_(NumElements(shape) * SizeOf(dtype) / sizeof(double) + 1),
      tensor_{.key = std::move(key), .dtype = dtype, .shape = shape} {
  tensor_.pieces.push_back(
      {.box = WholeBox(shape), .local = TensorView(memory_.data(), dtype, shape)});
}

std::vector<float> WholeTensor::Floats() const {
  const auto values = tensor_.pieces[0].local.values<float>();
  return {values.begin(), values.end()};
}

}  // namespace hetero
