#ifndef HETERO_TRAINER_TIMING_MACHINE_TABLE_H_
#define HETERO_TRAINER_TIMING_MACHINE_TABLE_H_

// What operations and messages take on a machine that was measured.

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "hetero/telemetry/call_ledger.h"
#include "hetero/trainer/timing/machine.pb.h"

namespace hetero {

class MachineTable {
 public:
  // `source` names the message in errors.
  // Errors: INVALID_ARGUMENT for a broken rule of a field, or for a name that has two rows.
  static absl::StatusOr<MachineTable> Make(proto::Machine machine, std::string_view source);

  // From text format. Errors: also INVALID_ARGUMENT "source:line:column: ...".
  static absl::StatusOr<MachineTable> Parse(std::string_view text, std::string_view source);

  // Ranks share the cores of a CPU.
  bool is_cpu() const { return machine_.has_cores(); }
  const proto::Machine& message() const { return machine_; }

  // Seconds of `totals.calls` calls of an operation on a GPU, or on a core that nothing else uses,
  // without those of the host of a GPU.
  double OperationSeconds(std::string_view name, const OperationTotals& totals) const;

  // Whether an operation has a row, and is not judged by bytes and FLOPs alone.
  bool Has(std::string_view operation) const { return operations_.contains(operation); }

  // Seconds of one call of a kind of collective, or of the messages of one exchange. A kind that
  // has no row takes those of "exchange", or nothing.
  double TrafficSeconds(std::string_view kind, int64_t bytes) const;

 private:
  struct Rate {
    double call = 0;  // seconds
    double flop = 0;
    double byte = 0;
  };

  proto::Machine machine_;
  absl::flat_hash_map<std::string, Rate> operations_;
  absl::flat_hash_map<std::string, Rate> traffic_;
};

// Of the tables that the program carries: "h200".
std::vector<std::string_view> MachineNames();

// That of this name, else of the file `name`, which begins at `working_folder` where it is
// relative.
// Errors: NOT_FOUND naming the tables there are; those of ReadFile and MachineTable::Parse.
absl::StatusOr<MachineTable> LoadMachine(std::string_view name,
                                         const std::filesystem::path& working_folder);

}  // namespace hetero

#endif  // HETERO_TRAINER_TIMING_MACHINE_TABLE_H_
