#ifndef HETERO_DATA_WEBDATASET_SAMPLE_ERROR_H_
#define HETERO_DATA_WEBDATASET_SAMPLE_ERROR_H_

// How errors of sources call what is wrong with a sample.

#include "absl/status/status.h"
#include "hetero/data/tar/shard.h"
#include "hetero/data/webdataset/content.h"
#include "hetero/data/webdataset/dataset.h"

namespace hetero::data {

// `cause` with shard and key before its message.
absl::Status AtSample(const absl::Status& cause, const RawSample& sample);

// Likewise with the member.
absl::Status AtMember(const absl::Status& cause, const RawSample& sample,
                      const RawSample::Part& part);

// Likewise with an image of its content.
absl::Status AtImage(const absl::Status& cause, const RawSample& sample, const ContentImage& image);

// For a run it is all one why an image has no pixels, unless the machine is short of something.
absl::Status BytesAtFault(const absl::Status& cause);

// DATA_LOSS with what the user can do about a sample that cannot be read; others unchanged.
absl::Status WithRemedy(const absl::Status& cause, const Dataset& dataset);

}  // namespace hetero::data

#endif  // HETERO_DATA_WEBDATASET_SAMPLE_ERROR_H_
