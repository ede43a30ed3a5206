#ifndef HETERO_CKPT_FORMAT_TORCH_ITEM_H_
#define HETERO_CKPT_FORMAT_TORCH_ITEM_H_

// A tensor as torch.save writes it: a zip archive with a pickle of its type and shape and a record
// of its elements, little-endian, in row-major order. A ".distcp" file is one such item behind the
// other. Ours are a head, the elements, at an offset in the file that direct transfers like, and a
// tail.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/ckpt/format/element_type.h"
#include "hetero/ckpt/storage/storage.h"

namespace hetero {

// Elements begin at a multiple of it, counted from the start of the file.
inline constexpr int64_t kItemAlignment = 4096;

// Where the parts of an item lie in its file.
struct ItemLayout {
  int64_t offset = 0;          // of the item: the head begins
  int64_t payload_offset = 0;  // of the elements
  int64_t payload_bytes = 0;
  int64_t tail_offset = 0;
  int64_t end = 0;  // of the item

  int64_t bytes() const { return end - offset; }  // of the item, as indexes have it
};

// Of an item that begins at `file_offset`. INVALID_ARGUMENT for a type that PyTorch does not store
// (F4, F6), for what PayloadBytes refuses, and for elements of more than 2^32 - 8192 bytes, which
// take another form of the archive.
absl::StatusOr<ItemLayout> LayOutItem(ElementType type, std::span<const int64_t> shape,
                                      int64_t file_offset);

// The bytes before and behind the elements, `crc32` being that of the elements. Precondition:
// LayOutItem accepts type, shape and offset.
struct ItemEnds {
  std::string head;
  std::string tail;
};
ItemEnds MakeItemEnds(ElementType type, std::span<const int64_t> shape, uint32_t crc32,
                      int64_t file_offset);

// What an item holds, as found in it.
struct TorchItem {
  ElementType type = ElementType::kF32;
  std::vector<int64_t> shape;
  int64_t payload_offset = 0;  // from the start of the item
  int64_t payload_bytes = 0;
  uint32_t crc32 = 0;  // of the elements; PyTorch writes it and never checks it
};

// Reads everything but the elements of the item that is all of `item`, ours or PyTorch's.
// Errors: DATA_LOSS for what is no tensor with all its elements in order in a record of its own.
absl::StatusOr<TorchItem> ReadTorchItem(const ReadableFile& item);

}  // namespace hetero

#endif  // HETERO_CKPT_FORMAT_TORCH_ITEM_H_
