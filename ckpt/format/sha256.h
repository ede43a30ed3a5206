#ifndef HETERO_CKPT_FORMAT_SHA256_H_
#define HETERO_CKPT_FORMAT_SHA256_H_

#include <string>
#include <string_view>

namespace hetero {

// SHA-256 (FIPS 180-4) of `bytes` as 64 hexadecimal digits.
std::string Sha256Hex(std::string_view bytes);

}  // namespace hetero

#endif  // HETERO_CKPT_FORMAT_SHA256_H_
