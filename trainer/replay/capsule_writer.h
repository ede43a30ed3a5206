#ifndef HETERO_TRAINER_REPLAY_CAPSULE_WRITER_H_
#define HETERO_TRAINER_REPLAY_CAPSULE_WRITER_H_

// Makes capsules of a run: remembers what its steps reported since its newest checkpoint.

#include <cstdint>
#include <deque>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

#include "hetero/data/batch_schedule.h"
#include "hetero/trainer/replay/capsule.h"
#include "hetero/trainer/report/metrics.h"

namespace hetero {

// Used by one thread.
class CapsuleWriter {
 public:
  struct Options {
    std::filesystem::path run_folder;  // capsules are in "capsules" below it
    proto::RunConfig config;           // resolved
    std::string working_folder;
    std::string program;
    data::BatchSchedule batches{1};
    // Whether checkpoints of the run have all that its next step needs.
    bool saves_are_whole = true;
    int64_t max_capsules = 0;
  };
  explicit CapsuleWriter(Options options) : options_(std::move(options)) {}

  // The run begins with this checkpoint.
  void Loaded(std::filesystem::path checkpoint) { source_ = std::move(checkpoint); }
  // The run has saved one after `iteration` steps.
  void Saved(int64_t iteration, const std::filesystem::path& checkpoint);

  void Saw(const StepMetrics& step);

  // Of the step `iteration`, or of the one in which the run failed. The text says where it is or
  // why it is not; nothing once there are max_capsules, each of which keeps a checkpoint.
  std::string Write(int64_t iteration, std::string_view cause, std::string_view failure = "");

 private:
  // What a replay compares at most: the last of its steps.
  static constexpr size_t kMostSeen = 10000;

  const Options options_;
  std::filesystem::path source_;
  bool saved_by_run_ = false;
  std::deque<StepMetrics> seen_;
  int64_t num_written_ = 0;
};

}  // namespace hetero

#endif  // HETERO_TRAINER_REPLAY_CAPSULE_WRITER_H_
