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

using Sources = std::map<std::pair<std::string_view, Box>, FileLayout::Source>;

Sources SourcesOf(const CheckpointState& state) {
  Sources sources;
  for (size_t t = 0; t < state.tensors.size(); ++t) {
    const CheckpointTensor& tensor = state.tensors[t];
    for (size_t p = 0; p < tensor.pieces.size(); ++p) {
      sources.emplace(std::pair(std::string_view(tensor.key), tensor.pieces[p].box),
                      FileLayout::Source{t, p});
    }
  }
  return sources;
}

const CheckpointTensor::Piece& PieceAt(const CheckpointState& state, FileLayout::Source source) {
  return state.tensors[source.tensor].pieces[source.piece];
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

bool LieAlike(const ConstTensorView& a, const ConstTensorView& b) {
  if (a.rank() != b.rank()) return false;
  for (int d = 0; d < a.rank(); ++d) {
    if (a.dim(d) != b.dim(d) || a.stride(d) != b.stride(d)) return false;
  }
  return true;
}

// What `item`, whose box is a part of the piece's, is written from.
void TakeFrom(const CheckpointTensor::Piece& piece, FileItem& item) {
  if (piece.source == nullptr) {
    if (item.runs.empty() || !LieAlike(item.local, piece.local)) {
      item.runs = RunsOf(item.box, item.box, piece.box, piece.local);
    }
    item.source = nullptr;
  } else {
    item.runs.clear();
    // What CutToSize cuts off lies together in the whole.
    item.source = [source = piece.source, begin = FlatIndex(item.box.offset, piece.box)](
                      int64_t first, int64_t count, std::byte* out) {
      return source(begin + first, count, out);
    };
  }
  item.local = piece.local;
}

absl::StatusOr<FileItem> TensorItem(const OwnedChunk& chunk, const CheckpointTensor::Piece& piece,
                                    int64_t offset) {
  HETERO_ASSIGN_OR_RETURN(const ItemLayout item,
                          LayOutItem(ElementTypeOf(chunk.tensor->dtype), chunk.box.size, offset));
  FileItem made{.box = chunk.box,
                .dtype = chunk.tensor->dtype,
                .offset = offset,
                .bytes = item.bytes(),
                .payload_offset = item.payload_offset,
                .payload_bytes = item.payload_bytes};
  TakeFrom(piece, made);
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

bool Rebind(const CheckpointState& state, FileLayout& layout) {
  const auto at = [&](FileLayout::Place place) -> FileItem& {
    return layout.files[place.file].items[place.item];
  };
  for (const FileLayout::Object& object : layout.objects) {
    FileItem& item = at(object.place);
    item.object = ObjectItem(state.objects[object.index].value);
    if (std::ssize(item.object) != item.bytes) return false;
  }
  for (size_t c = 0; c < layout.chunks.size(); ++c) {
    TakeFrom(PieceAt(state, layout.sources[c]), at(layout.chunks[c]));
  }
  for (FilePlan& file : layout.files) {
    file.crc32 = 0;
    for (FileItem& item : file.items) item.crc32 = 0;
  }
  return true;
}

absl::StatusOr<FileLayout> LayOutFiles(const WorldPlan& plan, int64_t member,
                                       const CheckpointState& state, int64_t num_files,
                                       int64_t max_chunk_bytes, bool constants_apart) {
  FileLayout layout;
  std::vector<FilePlan> files(num_files + 1);
  for (int64_t n = 0; n <= num_files; ++n) {
    files[n].name = absl::StrCat("__", member, "_", n, ".distcp");
  }
  for (size_t o = 0; o < state.objects.size(); ++o) {
    const CheckpointObject& object = state.objects[o];
    const auto writer = plan.writers.find(object.name);
    if (!object.main || writer == plan.writers.end() || writer->second != member) continue;
    const size_t file = layout.objects.size() % num_files;
    FileItem item{.offset = files[file].bytes};
    item.object = ObjectItem(object.value);
    item.bytes = std::ssize(item.object);
    const size_t index = Append(std::move(item), files[file]);
    layout.objects.push_back({object.name, o, {file, index}});
  }

  const Sources sources = SourcesOf(state);
  const std::vector<OwnedChunk> chunks = OwnedChunks(plan, member, max_chunk_bytes);
  for (const OwnedChunk& chunk : chunks) {
    layout.sources.push_back(sources.at({chunk.key, chunk.shard->box}));
  }
  const auto piece_of = [&](size_t c) -> const CheckpointTensor::Piece& {
    return PieceAt(state, layout.sources[c]);
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
