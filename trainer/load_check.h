#ifndef HETERO_TRAINER_LOAD_CHECK_H_
#define HETERO_TRAINER_LOAD_CHECK_H_

// Whether a run could begin with the checkpoint that its configuration names: what every rank would
// ask for, found without its device or memory, against what is stored.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/trainer/job.h"
#include "hetero/trainer/signals.h"

namespace hetero {

struct LoadCheck {
  struct Module {
    std::string name;                   // empty: of what no module's names begin like
    int64_t found = 0;                  // tensors that a load would fill
    std::vector<std::string> kept;      // absent, allowed to be, and left as the run begins
    std::vector<std::string> unused;    // stored, and nobody wants them
    std::vector<std::string> missing;   // of MatchReport, with who wants them and the nearest names
    std::vector<std::string> unlike;    // likewise, with both shapes or types
    std::vector<std::string> unwanted;  // likewise, those of `unused` that may not be

    bool fits() const { return missing.empty() && unlike.empty() && unwanted.empty(); }
  };

  std::string checkpoint;               // its path; empty: the run begins with new weights
  std::vector<std::string> warnings;    // checkpoints that would be passed over
  std::vector<std::string> of_the_run;  // what a load is refused for beside tensors
  std::vector<Module> modules;          // in the order of the graph, then that without a name

  // Whether Load and what follows it would go on, as long as no byte is damaged.
  bool fits() const;

  // What fits and what does not, module by module.
  std::string ToString() const;
};

// Reads no tensor. Precondition: job.config has checkpoint.load.
// Errors: that no checkpoint is there or none is whole, as LoadRank; CANCELLED after a stop signal.
absl::StatusOr<LoadCheck> CheckLoad(const Job& job, const std::filesystem::path& working_folder,
                                    const StopSignals& signals);

}  // namespace hetero

#endif  // HETERO_TRAINER_LOAD_CHECK_H_
