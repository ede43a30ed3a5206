#ifndef HETERO_DATA_TEXT_NORMALIZER_H_
#define HETERO_DATA_TEXT_NORMALIZER_H_

#include <string>
#include <string_view>

namespace hetero::data {

// Normalization form C of The Unicode Standard, annex 15, in `storage` or `text` itself where that
// is in it. Precondition: `text` is UTF-8 below 2 GiB.
std::string_view ToNfc(std::string_view text, std::string& storage);

}  // namespace hetero::data

#endif  // HETERO_DATA_TEXT_NORMALIZER_H_
