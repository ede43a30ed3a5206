#include "hetero/data/webdataset/sample_error.h"

#include <string>

#include "absl/strings/str_format.h"
#include "hetero/data/webdataset/prepare_command.h"

namespace hetero::data {
namespace {

std::string MediaOf(const Dataset& dataset) {
  return dataset.media() == nullptr ? "" : dataset.media()->reference().ToString();
}

}  // namespace

absl::Status AtSample(const absl::Status& cause, const RawSample& sample) {
  return absl::Status(cause.code(), absl::StrFormat("shard %s, sample %s: %s", sample.shard,
                                                    sample.key, cause.message()));
}

absl::Status AtMember(const absl::Status& cause, const RawSample& sample,
                      const RawSample::Part& part) {
  return absl::Status(cause.code(),
                      absl::StrFormat("shard %s, sample %s, member %s.%s: %s", sample.shard,
                                      sample.key, sample.key, part.extension, cause.message()));
}

absl::Status AtImage(const absl::Status& cause, const RawSample& sample,
                     const ContentImage& image) {
  return absl::Status(cause.code(), absl::StrFormat("shard %s, sample %s, %s: %s", sample.shard,
                                                    sample.key, image.place, cause.message()));
}

absl::Status BytesAtFault(const absl::Status& cause) {
  return absl::IsResourceExhausted(cause) ? cause : absl::DataLossError(cause.message());
}

absl::Status WithRemedy(const absl::Status& cause, const Dataset& dataset) {
  if (!absl::IsDataLoss(cause)) return cause;
  return absl::DataLossError(absl::StrFormat("%s; to exclude what cannot be read: %s",
                                             cause.message(),
                                             PrepareCommand(dataset.root(), MediaOf(dataset))));
}

}  // namespace hetero::data
