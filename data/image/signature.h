#ifndef HETERO_DATA_IMAGE_SIGNATURE_H_
#define HETERO_DATA_IMAGE_SIGNATURE_H_

// What a file is by its first bytes, for messages about files that are not what their name says.

#include <optional>
#include <string_view>

namespace hetero::data {

// "a WebP image", "an HTML page"; nullopt for bytes that no known format begins with.
std::optional<std::string_view> KnownFormat(std::string_view bytes);

}  // namespace hetero::data

#endif  // HETERO_DATA_IMAGE_SIGNATURE_H_
