#ifndef HETERO_DATA_WATCHED_SOURCE_H_
#define HETERO_DATA_WATCHED_SOURCE_H_

// A source that says what it is reading, for whoever waits for it.

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "hetero/data/batch.h"
#include "hetero/data/source.h"
#include "hetero/tensor/sample_facts.h"

namespace hetero::data {

// One thread reads, any other may look.
class ReadingNote {
 public:
  struct Reading {
    int64_t count = 0;  // of the reads so far: a number of its own for each
    int64_t sample = 0;

    friend bool operator==(const Reading&, const Reading&) = default;
  };

  void Begin(int64_t sample) {
    sample_.store(sample, std::memory_order_relaxed);
    count_.fetch_add(1, std::memory_order_release);
  }
  void End() { count_.fetch_add(1, std::memory_order_release); }

  // The read under way, as it was at some moment of the call.
  std::optional<Reading> Current() const {
    const int64_t count = count_.load(std::memory_order_acquire);
    const int64_t sample = sample_.load(std::memory_order_relaxed);
    if (count % 2 == 0) return std::nullopt;
    return Reading{.count = count, .sample = sample};
  }

 private:
  std::atomic<int64_t> count_ = 0;  // of beginnings and ends: odd while something is read
  std::atomic<int64_t> sample_ = 0;
};

class WatchedSource : public SampleSource {
 public:
  WatchedSource(std::unique_ptr<SampleSource> source, std::shared_ptr<ReadingNote> note)
      : source_(std::move(source)), note_(std::move(note)) {}

  int64_t size() const override { return source_->size(); }
  int64_t feature_width(int modality) const override { return source_->feature_width(modality); }
  absl::Status ReadLanguage(int64_t index, LanguageSample& out) override {
    return Note(index, [&] { return source_->ReadLanguage(index, out); });
  }
  absl::Status ReadMedia(int64_t index, int modality, MediaBatch& out) override {
    return Note(index, [&] { return source_->ReadMedia(index, modality, out); });
  }
  absl::Status ReadFacts(int64_t index, SampleFacts& facts) override {
    return Note(index, [&] { return source_->ReadFacts(index, facts); });
  }

 private:
  template <typename Read>
  absl::Status Note(int64_t index, const Read& read) {
    note_->Begin(index);
    absl::Status status = read();
    note_->End();
    return status;
  }

  std::unique_ptr<SampleSource> source_;
  std::shared_ptr<ReadingNote> note_;
};

}  // namespace hetero::data

#endif  // HETERO_DATA_WATCHED_SOURCE_H_
