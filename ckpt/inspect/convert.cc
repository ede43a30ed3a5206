#include "hetero/ckpt/inspect/convert.h"

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/checkpoint_tensor.h"
#include "hetero/ckpt/exchange.h"
#include "hetero/ckpt/format/element_type.h"
#include "hetero/ckpt/plan/box.h"
#include "hetero/ckpt/publish/publisher.h"
#include "hetero/ckpt/safetensors/index.h"
#include "hetero/ckpt/safetensors/writer.h"
#include "hetero/ckpt/save.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/device.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

namespace fs = std::filesystem;

namespace {

absl::Status NothingChosen(std::string_view prefix) {
  return absl::NotFoundError(absl::StrCat("no tensor's name begins with \"", prefix, "\""));
}

}  // namespace

absl::StatusOr<int64_t> WriteAsSafetensors(const StoredTensors& tensors, Storage& storage,
                                           const fs::path& folder, const ConvertOptions& options) {
  std::vector<SafetensorsTensor> chosen;
  for (const auto& [key, head] : tensors.heads()) {
    if (!absl::StartsWith(key, options.prefix)) continue;
    chosen.push_back({.name = key, .type = head.type, .shape = head.shape});
  }
  if (chosen.empty()) return NothingChosen(options.prefix);
  HETERO_RETURN_IF_ERROR(storage.MakeDirectory(folder));
  HETERO_ASSIGN_OR_RETURN(const std::vector<std::string> there, storage.List(folder));
  if (!there.empty()) {
    return absl::AlreadyExistsError(
        absl::StrCat(folder.native(), " has files, such as ", there[0], "; name a new folder"));
  }
  std::vector<std::string> keys;
  for (const SafetensorsTensor& tensor : chosen) keys.push_back(tensor.name);
  HETERO_ASSIGN_OR_RETURN(
      SafetensorsPlan plan,
      PlanSafetensors(std::move(chosen), {.max_file_bytes = options.max_file_bytes}));
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<SafetensorsWriter> writer,
                          SafetensorsWriter::Create(storage, folder, std::move(plan)));
  for (const std::string& key : keys) {
    if (options.before_each) {
      HETERO_RETURN_IF_ERROR(options.before_each(key));
    }
    HETERO_ASSIGN_OR_RETURN(const std::vector<std::byte> elements, tensors.Read(key));
    HETERO_RETURN_IF_ERROR(writer->Write(key, 0, elements));
  }
  HETERO_RETURN_IF_ERROR(writer->Close());
  return std::ssize(keys);
}

absl::StatusOr<int64_t> PublishAsCheckpoint(const StoredTensors& tensors, Storage& storage,
                                            const fs::path& folder, int64_t iteration,
                                            const ConvertOptions& options) {
  CheckpointState state;
  std::vector<std::vector<std::byte>> memory;
  int64_t bytes = 0;
  for (const auto& [key, head] : tensors.heads()) {
    if (!absl::StartsWith(key, options.prefix)) continue;
    if (options.before_each) {
      HETERO_RETURN_IF_ERROR(options.before_each(key));
    }
    const std::optional<DType> dtype = DTypeOf(head.type);
    if (!dtype.has_value()) {
      return absl::UnimplementedError(
          absl::StrCat(key, ": elements of ", Name(head.type), " are not saved"));
    }
    HETERO_ASSIGN_OR_RETURN(std::vector<std::byte> elements, tensors.Read(key));
    bytes += std::ssize(elements);
    memory.push_back(std::move(elements));
    state.tensors.push_back(
        {.key = key,
         .dtype = *dtype,
         .shape = head.shape,
         .pieces = {{.box = WholeBox(head.shape),
                     .local = TensorView(memory.back().data(), *dtype, head.shape)}}});
  }
  if (state.tensors.empty()) return NothingChosen(options.prefix);
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<Publisher> publisher,
                          Publisher::Open(storage, folder, {.lease = {.run_id = "conversion"}}));
  HETERO_ASSIGN_OR_RETURN(Staging staging, publisher->Begin(iteration, bytes));
  Exchange alone;
  Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
  Stream stream(Device{}, workspace);
  HETERO_RETURN_IF_ERROR(Save(storage, staging.path().native(), state, alone,
                              {.save_id = staging.save_id(), .iteration = iteration}, stream));
  HETERO_RETURN_IF_ERROR(publisher->Publish(std::move(staging)));
  return std::ssize(state.tensors);
}

}  // namespace hetero
