#include "hetero/data/webdataset/sample_check.h"

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/data/image/codec.h"
#include "hetero/data/webdataset/content.h"

namespace hetero::data {

absl::Status CheckSample(const RawSample& sample, const SampleFields& fields,
                         const MediaSource* media, Image& scratch) {
  HETERO_ASSIGN_OR_RETURN(const SampleContent content, ReadContent(sample, fields, media));
  for (const ContentImage& image : content.images) {
    const absl::Status decoded = DecodeImage(image.bytes, scratch);
    if (decoded.ok()) continue;
    if (absl::IsResourceExhausted(decoded)) return decoded;
    return absl::DataLossError(absl::StrCat(image.place, ": ", decoded.message()));
  }
  return absl::OkStatus();
}

}  // namespace hetero::data
