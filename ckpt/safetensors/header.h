#ifndef HETERO_CKPT_SAFETENSORS_HEADER_H_
#define HETERO_CKPT_SAFETENSORS_HEADER_H_

// The header of a safetensors file: 8 bytes with the length N of the header, little-endian, N bytes
// of JSON with type, shape and place of every tensor, and the buffer with their bytes.
// https://github.com/huggingface/safetensors, section "Format".

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/ckpt/format/element_type.h"

namespace hetero {

inline constexpr int64_t kSafetensorsLengthBytes = 8;
inline constexpr int64_t kMaxSafetensorsHeaderBytes = 100'000'000;

struct SafetensorsTensor {
  std::string name;
  ElementType type = ElementType::kF32;
  std::vector<int64_t> shape;
  int64_t begin = 0;  // in the buffer
  int64_t end = 0;

  int64_t bytes() const { return end - begin; }
};

struct SafetensorsHeader {
  std::vector<SafetensorsTensor> tensors;  // by offset; they cover the buffer without a gap
  std::map<std::string, std::string> metadata;

  int64_t buffer_bytes() const { return tensors.empty() ? 0 : tensors.back().end; }
};

// N, of the first bytes of a file of `file_bytes`. `start` may be shorter than 8 bytes where the
// file is. DATA_LOSS when no header of that length can be there.
absl::StatusOr<int64_t> ParseSafetensorsLength(std::string_view start, int64_t file_bytes);

// `text` is the N bytes, `buffer_bytes` what the file has behind them. DATA_LOSS naming the tensor
// and the rule that it breaks: stricter than the format's own library, a name that comes twice,
// an unknown field and anything before the `{` are errors.
absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(std::string_view text,
                                                         int64_t buffer_bytes);

// The length and the header, padded so that the buffer begins at a multiple of 8. Precondition:
// `tensors` are in order and without gaps.
std::string SafetensorsHead(const SafetensorsHeader& header);

// Places the tensors as the format's library does, by falling type and then by name. `begin` and
// `end` of what is given do not count. INVALID_ARGUMENT for a name that comes twice or is
// "__metadata__", and for a shape that PayloadBytes refuses.
absl::StatusOr<SafetensorsHeader> LayOutSafetensors(std::vector<SafetensorsTensor> tensors,
                                                    std::map<std::string, std::string> metadata);

}  // namespace hetero

#endif  // HETERO_CKPT_SAFETENSORS_HEADER_H_
