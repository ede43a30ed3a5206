#include "hetero/ckpt/file_layout.h"

#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/format/element_type.h"
#include "hetero/ckpt/format/torch_item.h"
#include "hetero/ckpt/format/torch_object.h"
#include "hetero/ckpt/plan/box.h"
#include "hetero/ckpt/plan/distribution.h"
#include "hetero/ckpt/plan/runs.h"

namespace hetero {
namespace {

using Pieces = std::map<std::pair<std::string_view, Box>, const CheckpointTensor::Piece*>;

Pieces PiecesOf(const CheckpointState& state) {
  Pieces pieces;
  for (const CheckpointTensor& tensor : state.tensors) {
    for (const CheckpointTensor::Piece& piece : tensor.pieces) {
      pieces.emplace(std::pair(std::string_view(tensor.key), piece.box), &piece);
    }
  }
  return pieces;
}

// `file` with `item` behind what it has.
size_t Append(FileItem item, FilePlan& file) {
  file.bytes = item.offset + item.bytes;
  file.items.push_back(std::move(item));
  return file.items.size() - 1;
}

// Of an element of `box`, among its elements in row-major order.
int64_t FlatIndex(const std::vector<int64_t>& at, const Box& box) {
  int64_t index = 0;
  for (size_t d = 0; d < at.size(); ++d) index = index * box.size[d] + at[d] - box.offset[d];
  return index;
}

absl::StatusOr<FileItem> TensorItem(const OwnedChunk& chunk, const CheckpointTensor::Piece& piece,
                                    int64_t offset) {
  HETERO_ASSIGN_OR_RETURN(const ItemLayout item,
                          LayOutItem(ElementTypeOf(chunk.tensor->dtype), chunk.box.size, offset));
  FileItem made{.box = chunk.box,
                .dtype = chunk.tensor->dtype,
                .local = piece.local,
                .offset = offset,
                .bytes = item.bytes(),
                .payload_offset = item.payload_offset,
                .payload_bytes = item.payload_bytes};
  if (piece.source == nullptr) {
    made.runs = RunsOf(chunk.box, chunk.box, piece.box, piece.local);
  } else {
    // What CutToSize cuts off lies together in the whole.
    made.source = [source = piece.source, begin = FlatIndex(chunk.box.offset, piece.box)](
                      int64_t first, int64_t count, std::byte* out) {
      return source(begin + first, count, out);
    };
  }
  return made;
}

}  // namespace

std::vector<OwnedChunk> OwnedChunks(const WorldPlan& plan, int64_t member, int64_t max_bytes) {
  std::vector<OwnedChunk> chunks;
  for (const auto& [key, tensor] : plan.tensors) {
    for (const WorldShard& shard : tensor.shards) {
      if (shard.owner != member) continue;
      for (Box& box : CutToSize(shard.box, SizeOf(tensor.dtype), max_bytes)) {
        chunks.push_back({.key = key, .tensor = &tensor, .shard = &shard, .box = std::move(box)});
      }
    }
  }
  return chunks;
}

int64_t FileLayout::bytes() const {
  int64_t bytes = 0;
  for (const FilePlan& file : files) bytes += file.bytes;
  return bytes;
}

absl::StatusOr<FileLayout> LayOutFiles(const WorldPlan& plan, int64_t member,
                                       const CheckpointState& state, int64_t num_files,
                                       int64_t max_chunk_bytes, bool constants_apart) {
  FileLayout layout;
  std::vector<FilePlan> files(num_files + 1);
  for (int64_t n = 0; n <= num_files; ++n) {
    files[n].name = absl::StrCat("__", member, "_", n, ".distcp");
  }
  for (const CheckpointObject& object : state.objects) {
    const auto writer = plan.writers.find(object.name);
    if (!object.main || writer == plan.writers.end() || writer->second != member) continue;
    const size_t file = layout.objects.size() % num_files;
    FileItem item{.offset = files[file].bytes};
    item.object = ObjectItem(object.value);
    item.bytes = std::ssize(item.object);
    const size_t index = Append(std::move(item), files[file]);
    layout.objects.push_back({object.name, {file, index}});
  }

  const Pieces pieces = PiecesOf(state);
  const std::vector<OwnedChunk> chunks = OwnedChunks(plan, member, max_chunk_bytes);
  const auto piece_of = [&](size_t c) -> const CheckpointTensor::Piece& {
    return *pieces.at({chunks[c].key, chunks[c].shard->box});
  };
  std::vector<size_t> changing;
  std::vector<std::vector<size_t>> by_file;
  std::vector<size_t> constants;
  std::vector<int64_t> bytes;  // parallel to `changing`
  for (size_t c = 0; c < chunks.size(); ++c) {
    if (constants_apart && piece_of(c).constant) {
      constants.push_back(c);
      continue;
    }
    changing.push_back(c);
    bytes.push_back(NumElements(chunks[c].box) * SizeOf(chunks[c].tensor->dtype));
  }
  for (const std::vector<size_t>& of_file : DivideAmongFiles(bytes, num_files)) {
    std::vector<size_t>& of = by_file.emplace_back();
    for (const size_t i : of_file) of.push_back(changing[i]);
  }
  layout.has_constants = !constants.empty();
  by_file.push_back(std::move(constants));
  layout.chunks.resize(chunks.size());
  for (size_t file = 0; file < by_file.size(); ++file) {
    for (const size_t c : by_file[file]) {
      HETERO_ASSIGN_OR_RETURN(FileItem item, TensorItem(chunks[c], piece_of(c), files[file].bytes));
      layout.chunks[c] = {file, Append(std::move(item), files[file])};
    }
  }

  // What holds nothing is no file.
  std::vector<size_t> index(files.size());
  for (size_t file = 0; file < files.size(); ++file) {
    index[file] = layout.files.size();
    if (!files[file].items.empty()) layout.files.push_back(std::move(files[file]));
  }
  for (FileLayout::Place& place : layout.chunks) place.file = index[place.file];
  for (FileLayout::Object& object : layout.objects) object.place.file = index[object.place.file];
  return layout;
}

}  // namespace hetero
