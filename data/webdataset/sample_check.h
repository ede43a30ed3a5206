#ifndef HETERO_DATA_WEBDATASET_SAMPLE_CHECK_H_
#define HETERO_DATA_WEBDATASET_SAMPLE_CHECK_H_

#include <string>

#include "absl/status/status.h"
#include "hetero/data/image/image.h"
#include "hetero/data/tar/shard.h"
#include "hetero/data/webdataset/media_source.h"
#include "hetero/data/webdataset/metadata.h"

namespace hetero::data {

// A sample that no run can use.
struct UnreadableSample {
  std::string sample;  // "shard/key", as the exclude list has it
  std::string reason;
};

// Whether a run can use `sample`: its members are there and say what `fields` wants of them, and
// its images decode, also those of `media`, if that is not nullptr. `scratch` is overwritten.
// Errors: DATA_LOSS naming the member and what is wrong with it; others say nothing about the
// sample.
absl::Status CheckSample(const RawSample& sample, const SampleFields& fields,
                         const MediaSource* media, Image& scratch);

}  // namespace hetero::data

#endif  // HETERO_DATA_WEBDATASET_SAMPLE_CHECK_H_
