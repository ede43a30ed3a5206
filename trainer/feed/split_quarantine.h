#ifndef HETERO_TRAINER_FEED_SPLIT_QUARANTINE_H_
#define HETERO_TRAINER_FEED_SPLIT_QUARANTINE_H_

// The quarantine of a split that was opened from prepared folders.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/data/batch.h"
#include "hetero/data/energon/open_blend.h"
#include "hetero/data/file/long_work.h"
#include "hetero/data/source.h"
#include "hetero/tensor/sample_facts.h"
#include "hetero/trainer/feed/input_contract.h"
#include "hetero/trainer/feed/open_splits.h"
#include "hetero/trainer/feed/run_quarantine.h"

namespace hetero {

// With the samples of `blend` that the run's list names; counted in `quarantine`. Null without one.
// Errors: those of data::OpenedBlend::FindNamed.
absl::StatusOr<std::shared_ptr<const SplitQuarantine>> QuarantineOf(
    RunQuarantine* quarantine, const InputContract& contract,
    const std::shared_ptr<const data::OpenedBlend>& blend, const SampleReading& reading);

// Samples whose text or facts cannot be read go into quarantine and are blank. Those that are there
// already are read all the same: what is planned by this source does not depend on the list.
class SiftingSource : public data::SampleSource {
 public:
  // `quarantine` outlives it.
  SiftingSource(std::unique_ptr<data::SampleSource> source, const SplitQuarantine& quarantine)
      : source_(std::move(source)), quarantine_(quarantine) {}

  int64_t size() const override { return source_->size(); }
  int64_t feature_width(int modality) const override { return source_->feature_width(modality); }
  absl::Status ReadLanguage(int64_t index, data::LanguageSample& out) override;
  absl::Status ReadMedia(int64_t index, int modality, data::MediaBatch& out) override {
    return source_->ReadMedia(index, modality, out);
  }
  absl::Status ReadFacts(int64_t index, SampleFacts& facts) override {
    return source_->ReadFacts(index, facts);
  }

  // Tells `work` of those that were not in quarantine before and adds them to `file`, unless it is
  // empty. Every process of a run has the same. Errors: those of SplitQuarantine::describe and
  // data::AddToQuarantine.
  absl::Status ListFound(const std::filesystem::path& file, const data::LongWork& work) const;

 private:
  std::unique_ptr<data::SampleSource> source_;
  const SplitQuarantine& quarantine_;
  std::vector<int64_t> found_;
};

}  // namespace hetero

#endif  // HETERO_TRAINER_FEED_SPLIT_QUARANTINE_H_
