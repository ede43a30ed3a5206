#include "hetero/data/webdataset/sample_check.h"

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/data/image/codec.h"
#include "hetero/data/webdataset/field.h"

namespace hetero::data {

absl::Status CheckSample(const RawSample& sample, const CaptioningFields& fields, Image& scratch) {
  HETERO_RETURN_IF_ERROR(SelectPart(sample, fields.caption));
  HETERO_ASSIGN_OR_RETURN(const RawSample::Part* image, SelectPart(sample, fields.image));
  const absl::Status decoded = DecodeImage(image->bytes, scratch);
  if (decoded.ok() || absl::IsResourceExhausted(decoded)) return decoded;
  return absl::DataLossError(
      absl::StrCat("member ", sample.key, ".", image->extension, ": ", decoded.message()));
}

}  // namespace hetero::data
