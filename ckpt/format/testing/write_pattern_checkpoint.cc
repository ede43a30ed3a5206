// Writes checkpoints for testdata/read_with_python.py into folders of the one named: "grid" and
// "irregular" item by item, "saved" by a save of four ranks.

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/checkpoint_tensor.h"
#include "hetero/ckpt/format/testing/pattern_checkpoint.h"
#include "hetero/ckpt/save.h"
#include "hetero/ckpt/storage/posix_storage.h"
#include "hetero/ckpt/testing/pattern.h"
#include "hetero/ckpt/testing/world.h"
#include "hetero/tensor/dtype.h"
#include "hetero/tensor/view.h"

namespace hetero {
namespace {

// w in 2x2 blocks, experts by ranks 0 and 1, the rest by rank 0.
absl::Status SaveRank(Storage& storage, const std::string& folder, RankInWorld world) {
  const int64_t row = 2 * (world.rank / 2);
  const int64_t column = 4 * (world.rank % 2);
  std::vector<float> block(8), scalar(1), norm(6);
  std::vector<BFloat16> bias(5);
  std::vector<int64_t> expert(6);
  CheckpointState state;
  state.tensors.push_back({.key = "w",
                           .shape = {4, 8},
                           .pieces = {{.box = {{row, column}, {2, 4}},
                                       .local = TensorView(std::span(block), {2, 4})}}});
  if (world.rank < 2) {
    state.tensors.push_back({.key = "exp.weight",
                             .dtype = DType::kI64,
                             .shape = {2, 3, 2},
                             .pieces = {{.box = {{world.rank, 0, 0}, {1, 3, 2}},
                                         .local = TensorView(std::span(expert), {3, 2})}}});
  }
  if (world.rank == 0) {
    state.tensors.push_back(
        {.key = "b",
         .dtype = DType::kBF16,
         .shape = {5},
         .pieces = {{.box = {{0}, {5}}, .local = TensorView(std::span(bias), {5})}}});
    state.tensors.push_back(
        {.key = "s",
         .shape = {},
         .pieces = {{.box = {{}, {}}, .local = TensorView(std::span(scalar), {1})}}});
    state.tensors.push_back(
        {.key = "language_model.decoder.final_norm.weight",
         .shape = {6},
         .pieces = {{.box = {{0}, {6}}, .local = TensorView(std::span(norm), {6})}}});
    HETERO_ASSIGN_OR_RETURN(std::string name, ObjectName("obj"));
    state.objects.push_back({.name = std::move(name),
                             .value = {{"seed", uint64_t{1} << 63}, {"lr", 0.1}, {"on", true}}});
  }
  FillPattern(state.tensors);
  SaveOptions options = {.save_id = "pattern", .iteration = 10};
  if (world.rank == 0) {
    options.common = {{"args", {{"num_layers", 2}, {"lr", 1e-4}}},
                      {"iteration", 10},
                      {"content_metadata", {{"distrib_optim_sharding_type", "fully_reshardable"}}}};
  }
  return Save(storage, folder, state, world.exchange, options, world.stream, world.memory).status();
}

absl::Status WriteAll(const std::filesystem::path& folder) {
  PosixStorage storage;
  HETERO_RETURN_IF_ERROR(WritePatternCheckpoint(storage, folder / "grid", PatternBoxes::kGrid));
  HETERO_RETURN_IF_ERROR(
      WritePatternCheckpoint(storage, folder / "irregular", PatternBoxes::kIrregular));
  const std::string saved = folder / "saved";
  HETERO_RETURN_IF_ERROR(storage.MakeDirectory(saved));
  HETERO_RETURN_IF_ERROR(
      RunWorld(4, [&](RankInWorld world) { return SaveRank(storage, saved, world); }));
  return Commit(storage, saved);
}

}  // namespace
}  // namespace hetero

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: write_pattern_checkpoint FOLDER\n";
    return EXIT_FAILURE;
  }
  const absl::Status status = hetero::WriteAll(argv[1]);
  if (!status.ok()) std::cerr << status << '\n';
  return status.ok() ? EXIT_SUCCESS : EXIT_FAILURE;
}
