#ifndef HETERO_DATA_WEBDATASET_FIELD_H_
#define HETERO_DATA_WEBDATASET_FIELD_H_

// Selects what a sample holds for a field.

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "hetero/data/tar/shard.h"

namespace hetero::data {

// `field` is "png" or a list of alternatives, "png,jpg": the first that `sample` has.
// Errors: DATA_LOSS naming sample, field and the members present.
absl::StatusOr<const RawSample::Part*> SelectPart(const RawSample& sample, std::string_view field);

// The text of `field`: its member's bytes, or a text inside of a JSON member, keys of objects and
// numbers of array elements in brackets: "txt,json[turns][0]". Where that is a list of texts, the
// first. Errors: as SelectPart; DATA_LOSS naming the member and what is wrong with it.
absl::StatusOr<std::string> ReadText(const RawSample& sample, std::string_view field);

}  // namespace hetero::data

#endif  // HETERO_DATA_WEBDATASET_FIELD_H_
