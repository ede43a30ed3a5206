#ifndef HETERO_TRAINER_FEED_SAMPLE_READER_H_
#define HETERO_TRAINER_FEED_SAMPLE_READER_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "hetero/data/batch.h"
#include "hetero/data/source.h"
#include "hetero/tensor/sample_facts.h"

namespace hetero {

// Reads samples and keeps nothing of them.
class SampleReader {
 public:
  explicit SampleReader(size_t num_modalities) { facts_.modalities.resize(num_modalities); }

  // Facts, media of `modalities` and, if `language` says so, text of sample `index`.
  // Errors: those of the source.
  absl::Status Read(data::SampleSource& source, int64_t index, bool language,
                    const std::vector<int>& modalities);

 private:
  SampleFacts facts_;
  data::LanguageSample text_;
  data::MediaBatch media_;
};

}  // namespace hetero

#endif  // HETERO_TRAINER_FEED_SAMPLE_READER_H_
