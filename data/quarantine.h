#ifndef HETERO_DATA_QUARANTINE_H_
#define HETERO_DATA_QUARANTINE_H_

// Samples that cannot be read, passed over in such a way that all others stay where they are.

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_set.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "hetero/data/batch.h"
#include "hetero/data/source.h"
#include "hetero/tensor/sample_facts.h"

namespace hetero::data {

// Numbers of samples of one source. Thread safe.
class Quarantine {
 public:
  bool Has(int64_t index) const {
    const absl::ReaderMutexLock lock(&mutex_);
    return samples_.contains(index);
  }

  // Whether it was not there before.
  bool Add(int64_t index) {
    const absl::MutexLock lock(&mutex_);
    return samples_.insert(index).second;
  }

  int64_t size() const {
    const absl::ReaderMutexLock lock(&mutex_);
    return static_cast<int64_t>(samples_.size());
  }

  // Ascending.
  std::vector<int64_t> Samples() const {
    const absl::ReaderMutexLock lock(&mutex_);
    return {samples_.begin(), samples_.end()};
  }

 private:
  mutable absl::Mutex mutex_;
  absl::btree_set<int64_t> samples_ ABSL_GUARDED_BY(mutex_);
};

// A source whose samples in quarantine are blank: they have neither text nor media and are not
// read. A blank sample keeps its place, which becomes padding without loss.
class QuarantinedSource : public SampleSource {
 public:
  QuarantinedSource(std::unique_ptr<SampleSource> source,
                    std::shared_ptr<const Quarantine> quarantine)
      : source_(std::move(source)), quarantine_(std::move(quarantine)) {}

  int64_t size() const override { return source_->size(); }
  int64_t feature_width(int modality) const override { return source_->feature_width(modality); }
  absl::Status ReadLanguage(int64_t index, LanguageSample& out) override;
  absl::Status ReadMedia(int64_t index, int modality, MediaBatch& out) override;
  absl::Status ReadFacts(int64_t index, SampleFacts& facts) override;

 private:
  std::unique_ptr<SampleSource> source_;
  std::shared_ptr<const Quarantine> quarantine_;
};

// Makes `out` a blank sample.
void MakeBlank(int64_t index, LanguageSample& out);

}  // namespace hetero::data

#endif  // HETERO_DATA_QUARANTINE_H_
