#ifndef HETERO_CKPT_PUBLISH_SHA256_H_
#define HETERO_CKPT_PUBLISH_SHA256_H_

// SHA-256 (FIPS 180-4) of one text. It is hashed once a save and once a load, so no library is
// pulled in for it.

#include <string>
#include <string_view>

namespace hetero {

// 64 lower-case hexadecimal digits.
std::string Sha256Hex(std::string_view text);

}  // namespace hetero

#endif  // HETERO_CKPT_PUBLISH_SHA256_H_
