#ifndef HETERO_DATA_SOURCE_H_
#define HETERO_DATA_SOURCE_H_

// Where samples come from: the trainer does not know whether they are read or made up.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/data/batch.h"
#include "hetero/tensor/sample_facts.h"

namespace hetero::data {

// The language side of a sample.
struct LanguageSample {
  std::string name;  // for messages, "shard/key"
  int64_t num_image_tokens = 0;
  std::vector<int32_t> text;  // ids after the image tokens, end included
};

// Upper bounds over all samples, from which buffers are sized before the first step.
struct SourceLimits {
  int64_t patch_elements = 0;    // floats of a patch, exact
  int64_t max_images = 0;        // per sample
  int64_t max_patches = 0;       // per sample
  int64_t max_image_tokens = 0;  // per sample
};

// Samples by index. Both grids open the same source and must see the same counts, so everything
// but pixels is decided by facts that both read: headers, sizes, text. One thread uses a source.
class SampleSource {
 public:
  virtual ~SampleSource() = default;

  virtual int64_t size() const = 0;
  virtual SourceLimits limits() const = 0;

  // Text and counts of sample `index` in [0, size()); decodes no pixel.
  // Errors: DATA_LOSS or INVALID_ARGUMENT naming the sample.
  virtual absl::Status ReadLanguage(int64_t index, LanguageSample& out) = 0;

  // Appends the images of sample `index` to the current sample of `out`.
  // Errors: DATA_LOSS naming shard, key and member.
  virtual absl::Status ReadImages(int64_t index, ImageBatch& out) = 0;

  // Overwrites the sizes of the images and num_image_tokens in `facts`; decodes no pixel.
  // Errors: as ReadLanguage.
  virtual absl::Status ReadFacts(int64_t index, SampleFacts& facts) = 0;
};

}  // namespace hetero::data

#endif  // HETERO_DATA_SOURCE_H_
