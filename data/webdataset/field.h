#ifndef HETERO_DATA_WEBDATASET_FIELD_H_
#define HETERO_DATA_WEBDATASET_FIELD_H_

// Selects the member of a sample that holds a field.

#include <string_view>

#include "absl/status/statusor.h"
#include "hetero/data/tar/shard.h"

namespace hetero::data {

// `field` is "png" or a list of alternatives, "png,jpg": the first that `sample` has.
// Errors: DATA_LOSS naming sample, field and the members present.
absl::StatusOr<const RawSample::Part*> SelectPart(const RawSample& sample, std::string_view field);

}  // namespace hetero::data

#endif  // HETERO_DATA_WEBDATASET_FIELD_H_
