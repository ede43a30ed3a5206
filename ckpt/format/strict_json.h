#ifndef HETERO_CKPT_FORMAT_STRICT_JSON_H_
#define HETERO_CKPT_FORMAT_STRICT_JSON_H_

// JSON from outside: what two readers could take differently is an error.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace hetero {

// One value and nothing behind it but white space. DATA_LOSS naming the byte for anything else than
// JSON in UTF-8; also for a name that an object has twice, for a number that no double holds and
// for values more than 64 deep.
absl::StatusOr<nlohmann::json> ParseStrictJson(std::string_view text);

// An array of integers, 0 to 2^63 - 1 each. DATA_LOSS as "NAME must be ..., is ...".
absl::StatusOr<std::vector<int64_t>> Int64sOf(const nlohmann::json& value, std::string_view name);

// An integer of that range.
absl::StatusOr<int64_t> Int64Of(const nlohmann::json& value, std::string_view name);

// The value in few letters, for messages.
std::string Shortened(const nlohmann::json& value);

}  // namespace hetero

#endif  // HETERO_CKPT_FORMAT_STRICT_JSON_H_
