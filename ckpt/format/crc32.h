#ifndef HETERO_CKPT_FORMAT_CRC32_H_
#define HETERO_CKPT_FORMAT_CRC32_H_

// CRC-32 as zip has it: polynomial 0xEDB88320, reflected; that of "123456789" is cbf43926.

#include <cstddef>
#include <cstdint>
#include <span>

namespace hetero {

// The checksum of `bytes`, or of what `before` is of with `bytes` behind it. By carry-less
// multiplication where the processor has it.
uint32_t Crc32(std::span<const std::byte> bytes, uint32_t before = 0);

// The checksum of two runs of bytes, one behind the other, of theirs and the length of the second.
// Time: O(log length).
uint32_t Crc32Combine(uint32_t first, uint32_t second, int64_t second_bytes);

namespace internal {

// The same without special instructions, to compare with.
uint32_t Crc32ByTable(std::span<const std::byte> bytes, uint32_t before);

}  // namespace internal
}  // namespace hetero

#endif  // HETERO_CKPT_FORMAT_CRC32_H_
