#include "hetero/trainer/step/transfer_check.h"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace hetero {
namespace {

std::vector<int> Microbatches(const CheckedProgram& program, OpKind kind, int channel) {
  std::vector<int> microbatches;
  for (const Op& op : program.ops) {
    if (op.kind == kind && op.channel == channel) microbatches.push_back(op.microbatch);
  }
  return microbatches;
}

std::string ToText(std::span<const int> microbatches) {
  return absl::StrCat("[", absl::StrJoin(microbatches, ", "), "]");
}

// One end of a channel at one program.
struct End {
  std::string_view program;
  std::string_view verb;
  std::vector<int> posted;
};

}  // namespace

absl::Status CheckTransfers(std::span<const CheckedProgram> programs,
                            std::span<const ChannelEnds> channels) {
  for (int c = 0; c < std::ssize(channels); ++c) {
    std::optional<End> first;
    for (const CheckedProgram& program : programs) {
      for (const bool sends : {true, false}) {
        const int stage = sends ? channels[c].source : channels[c].destination;
        if (std::ranges::find(program.stages, stage) == program.stages.end()) continue;
        End end = {
            .program = program.name,
            .verb = sends ? "sends" : "receives",
            .posted = Microbatches(program, sends ? OpKind::kPostSend : OpKind::kPostReceive, c)};
        if (!first.has_value()) {
          first = std::move(end);
        } else if (end.posted != first->posted) {
          return absl::FailedPreconditionError(absl::StrCat(
              first->program, " ", first->verb, " microbatches ", ToText(first->posted), " over ",
              channels[c].name, ", ", end.program, " ", end.verb, " ", ToText(end.posted)));
        }
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace hetero
