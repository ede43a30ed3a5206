// Writes a checkpoint for readers in Python, or checks one that they wrote. torch_exchange.py is
// the other side.
//
// usage: torch_exchange write FOLDER   a small model of 8 ranks, its values the pattern
//        torch_exchange check FOLDER   every tensor of the folder has the pattern

#include <cstdint>
#include <deque>
#include <iostream>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/checkpoint_index.h"
#include "hetero/ckpt/format/element_type.h"
#include "hetero/ckpt/load.h"
#include "hetero/ckpt/save.h"
#include "hetero/ckpt/storage/posix_storage.h"
#include "hetero/ckpt/testing/pattern.h"
#include "hetero/ckpt/testing/small_model.h"
#include "hetero/ckpt/testing/world.h"

namespace hetero {
namespace {

absl::Status Write(const std::string& folder) {
  PosixStorage storage;
  const ModelLayout layout{{.first = 4, .tp = 2, .dp = 2, .ep = 2}, {.tp = 2, .dp = 2}};
  HETERO_RETURN_IF_ERROR(storage.MakeDirectory(folder));
  HETERO_RETURN_IF_ERROR(RunWorld(layout.num_ranks(), [&](RankInWorld world) -> absl::Status {
    SmallModel model(layout, world.rank);
    FillPattern(model.state().tensors);
    SaveOptions options{.save_id = "torch", .iteration = 10};
    if (world.rank == 0) options.common = {{"iteration", 10}, {"checkpoint_version", 3.0}};
    return Save(storage, folder, model.state(), world.exchange, options, world.stream, world.memory)
        .status();
  }));
  return Commit(storage, folder);
}

absl::Status Check(const std::string& folder) {
  PosixStorage storage;
  HETERO_ASSIGN_OR_RETURN(const std::string bytes,
                          ReadIndexBytes(storage, folder, /*foreign=*/true));
  HETERO_ASSIGN_OR_RETURN(const CheckpointIndex index, ParseIndexBytes(bytes));
  std::deque<WholeTensor> tensors;
  CheckpointState state;
  for (const auto& [key, tensor] : index.tensors) {
    const std::optional<DType> dtype = DTypeOf(tensor.type);
    if (!dtype.has_value()) return absl::InvalidArgumentError(absl::StrCat(key, ": type"));
    tensors.emplace_back(key, *dtype, tensor.shape);
    state.tensors.push_back(tensors.back().tensor());
  }
  HETERO_ASSIGN_OR_RETURN(const LoadReport report,
                          LoadAlone(storage, folder, state, {.foreign = true}));
  const std::string difference = PatternDifference(state.tensors);
  if (!difference.empty()) return absl::DataLossError(difference);
  std::cout << report.tensors << " tensors of " << report.bytes << " bytes are equal\n";
  return absl::OkStatus();
}

int Run(int argc, char** argv) {
  const std::string_view command = argc == 3 ? argv[1] : "";
  absl::Status status = absl::InvalidArgumentError("usage: torch_exchange write|check FOLDER");
  if (command == "write") status = Write(argv[2]);
  if (command == "check") status = Check(argv[2]);
  if (!status.ok()) std::cerr << status.message() << '\n';
  return status.ok() ? 0 : 1;
}

}  // namespace
}  // namespace hetero

int main(int argc, char** argv) { return hetero::Run(argc, argv); }
