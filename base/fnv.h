#ifndef HETERO_BASE_FNV_H_
#define HETERO_BASE_FNV_H_

#include <cstdint>
#include <string_view>

namespace hetero {

// FNV-1a, 64 bit (http://www.isthe.com/chongo/tech/comp/fnv): the same in every process and build,
// so ranks can compare it and files may hold it.
inline constexpr uint64_t kFnvOffsetBasis = 0xcbf29ce484222325;

// The hash of `text`, or of what `hash` is of with `text` behind it.
constexpr uint64_t Fnv1a(std::string_view text, uint64_t hash = kFnvOffsetBasis) {
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  return hash;
}

// Of the algorithm's published test vectors.
static_assert(Fnv1a("a") == 0xaf63dc4c8601ec8c && Fnv1a("foobar") == 0x85944171f73967e8);

}  // namespace hetero

#endif  // HETERO_BASE_FNV_H_
