#ifndef HETERO_TRAINER_STEP_CHECKER_H_
#define HETERO_TRAINER_STEP_CHECKER_H_

// Proves that the programs of a run come to their ends, whatever the speed of each rank.

#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "hetero/trainer/step/op.h"

namespace hetero {

// The program of all ranks that hold the same stages. Ranks of a stage do the same at the same
// time: what ties them together, a replica's gather or an expert's exchange, they call alike.
struct CheckedProgram {
  std::string name;  // "radio_encoder.0"
  std::vector<int> stages;
  std::span<const Op> ops;
};

// The stages at the ends of a channel, in the direction of its rows.
struct ChannelEnds {
  int source = 0;
  int destination = 0;
  std::string name;  // "bridge.forward.0"
};

enum class TransferModel : uint8_t {
  // A transfer is one event of both ends, and so is an exchange: what a program posts before it
  // waits.
  kSynchronous,
  // A transfer is complete once both ends have posted it and all earlier ones of its channel are
  // complete.
  kChannels,
};

// `channels`: by number.
// Errors: FAILED_PRECONDITION when some program cannot go on, with the shortest cycle of those
// that wait for each other, "language.0 waits for bridge.forward.0[mb 3] from vision.0, which waits
// for
// ..."; where none is, with the way to a program that has ended or to one that does otherwise.
absl::Status CheckProgress(std::span<const CheckedProgram> programs,
                           std::span<const ChannelEnds> channels, TransferModel model);

}  // namespace hetero

#endif  // HETERO_TRAINER_STEP_CHECKER_H_
