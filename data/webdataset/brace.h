#ifndef HETERO_DATA_WEBDATASET_BRACE_H_
#define HETERO_DATA_WEBDATASET_BRACE_H_

// Shell-style brace patterns of shard names.

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace hetero::data {

// "a-{0..2}.tar" gives a-0.tar a-1.tar a-2.tar, "{08..10}" keeps its width, "{x,y}" alternates;
// groups multiply and nest. Braces around anything else stay as they are.
// Errors: INVALID_ARGUMENT for braces that do not close and for more than a million names.
absl::StatusOr<std::vector<std::string>> ExpandBraces(std::string_view pattern);

// The inverse for lists of shards: neighbours that count up in their last number, at equal width,
// become one "{first..last}" pattern. Expanding the result gives `names` back, in order.
std::vector<std::string> CollapseRuns(std::span<const std::string> names);

}  // namespace hetero::data

#endif  // HETERO_DATA_WEBDATASET_BRACE_H_
