#include "hetero/ckpt/inspect/convert.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
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
#include "hetero/ckpt/plan/distribution.h"
#include "hetero/ckpt/publish/publisher.h"
#include "hetero/ckpt/safetensors/index.h"
#include "hetero/ckpt/safetensors/writer.h"
#include "hetero/ckpt/save.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/device.h"
#include "hetero/tensor/dtype.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

namespace fs = std::filesystem;

namespace {

absl::Status NothingChosen(std::string_view prefix) {
  return absl::NotFoundError(absl::StrCat("no tensor's name begins with \"", prefix, "\""));
}

// A part of one tensor at a time, long enough that what ranks wrote by columns is not read in many
// little pieces.
class Window {
 public:
  Window(const StoredTensors& tensors, const ConvertOptions& options)
      : tensors_(tensors), options_(options) {}

  // Parts of the tensor, in order, that fit.
  std::vector<Box> BoxesOf(const TensorHead& head) const {
    const int bits = BitsOf(head.type);
    if (bits % 8 != 0) return {WholeBox(head.shape)};
    return CutToSize(WholeBox(head.shape), bits / 8, options_.memory_bytes);
  }

  // Until the next call. Precondition: `box` is one of BoxesOf.
  absl::StatusOr<std::span<const std::byte>> Read(std::string_view key, const Box& box) {
    if (options_.before_each) {
      HETERO_RETURN_IF_ERROR(options_.before_each(key));
    }
    HETERO_ASSIGN_OR_RETURN(const int64_t bytes,
                            PayloadBytes(tensors_.heads().find(key)->second.type, box.size));
    memory_.resize(bytes);
    HETERO_RETURN_IF_ERROR(tensors_.Read(key, box, memory_));
    return memory_;
  }

  // Elements [first, first + count). Cheap where calls come in order.
  absl::Status Copy(std::string_view key, const TensorHead& head, int64_t first, int64_t count,
                    std::byte* out) {
    const int64_t element = BitsOf(head.type) / 8;
    if (key != key_) {
      key_ = key;
      boxes_ = BoxesOf(head);
      begin_ = -1;
    }
    int64_t begin = 0;
    for (const Box& box : boxes_) {
      const int64_t end = begin + NumElements(box);
      const int64_t from = std::max(first, begin);
      const int64_t elements = std::min(first + count, end) - from;
      if (elements > 0) {
        if (begin != begin_) {
          HETERO_RETURN_IF_ERROR(Read(key, box).status());
          begin_ = begin;
        }
        std::memcpy(out + (from - first) * element, memory_.data() + (from - begin) * element,
                    elements * element);
      }
      begin = end;
    }
    return absl::OkStatus();
  }

 private:
  const StoredTensors& tensors_;
  const ConvertOptions& options_;
  std::vector<std::byte> memory_;
  // Of Copy: the tensor, its boxes, and the first element of the one that is in memory.
  std::string key_;
  std::vector<Box> boxes_;
  int64_t begin_ = -1;
};

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
  Window window(tensors, options);
  for (const std::string& key : keys) {
    const TensorHead& head = tensors.heads().find(key)->second;
    int64_t done = 0;
    for (const Box& box : window.BoxesOf(head)) {
      HETERO_ASSIGN_OR_RETURN(const std::span<const std::byte> elements, window.Read(key, box));
      HETERO_RETURN_IF_ERROR(writer->Write(key, done, elements));
      done += std::ssize(elements);
    }
  }
  HETERO_RETURN_IF_ERROR(writer->Close());
  return std::ssize(keys);
}

absl::StatusOr<int64_t> PublishAsCheckpoint(const StoredTensors& tensors, Storage& storage,
                                            const fs::path& folder, int64_t iteration,
                                            const ConvertOptions& options) {
  CheckpointState state;
  Window window(tensors, options);
  int64_t bytes = 0;
  for (const auto& [key, head] : tensors.heads()) {
    if (!absl::StartsWith(key, options.prefix)) continue;
    const std::optional<DType> dtype = DTypeOf(head.type);
    if (!dtype.has_value()) {
      return absl::UnimplementedError(
          absl::StrCat(key, ": elements of ", Name(head.type), " are not saved"));
    }
    bytes += NumElements(head.shape) * SizeOf(*dtype);
    const auto source = [&window, &key, &head](int64_t first, int64_t count, std::byte* out) {
      return window.Copy(key, head, first, count, out);
    };
    state.tensors.push_back(
        {.key = key,
         .dtype = *dtype,
         .shape = head.shape,
         .pieces = {{.box = WholeBox(head.shape), .local = {}, .source = source}}});
  }
  if (state.tensors.empty()) return NothingChosen(options.prefix);
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<Publisher> publisher,
                          Publisher::Open(storage, folder, {.lease = {.run_id = "conversion"}}));
  HETERO_ASSIGN_OR_RETURN(Staging staging, publisher->Begin(iteration, bytes));
  Exchange alone;
  MemoryLedger ledger;
  Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
  Stream stream(Device{}, workspace);
  HETERO_RETURN_IF_ERROR(Save(storage, staging.path().native(), state, alone,
                              {.save_id = staging.save_id(),
                               .iteration = iteration,
                               .num_files = 1,  // tensors one after the other
                               .ring_bytes = options.memory_bytes / 4},
                              stream, ledger));
  HETERO_RETURN_IF_ERROR(publisher->Publish(std::move(staging)));
  return std::ssize(state.tensors);
}

}  // namespace hetero
