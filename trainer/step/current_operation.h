#ifndef HETERO_TRAINER_STEP_CURRENT_OPERATION_H_
#define HETERO_TRAINER_STEP_CURRENT_OPERATION_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"

namespace hetero {

// Where a rank is in its program, so that others can tell when it does not get on. Thread-safe.
class CurrentOperation {
 public:
  static constexpr std::string_view kStep = "step";
  static constexpr std::string_view kEvaluation = "evaluation";

  // `phase`: one of these.
  void Set(std::string_view phase, int64_t step, std::string_view operation) {
    absl::MutexLock lock(&mutex_);
    phase_.assign(phase);
    step_ = step;
    operation_.assign(operation);
  }
  // The last one has ended.
  void Clear() {
    absl::MutexLock lock(&mutex_);
    operation_.clear();
  }

  // The training step whose operation has not ended; unset: there is none.
  std::optional<int64_t> step_in_work() const {
    absl::MutexLock lock(&mutex_);
    if (phase_ != kStep || operation_.empty()) return std::nullopt;
    return step_;
  }

  // "step 12 language.0 B3", between steps "after step 12", before the first one empty.
  std::string ToString() const {
    absl::MutexLock lock(&mutex_);
    if (phase_.empty()) return "";
    if (operation_.empty()) return absl::StrCat("after ", phase_, " ", step_);
    return absl::StrCat(phase_, " ", step_, " ", operation_);
  }

 private:
  mutable absl::Mutex mutex_;
  std::string phase_ ABSL_GUARDED_BY(mutex_);
  int64_t step_ ABSL_GUARDED_BY(mutex_) = 0;
  std::string operation_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace hetero

#endif  // HETERO_TRAINER_STEP_CURRENT_OPERATION_H_
