#include "hetero/trainer/timing/machine_table.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "google/protobuf/io/tokenizer.h"
#include "google/protobuf/text_format.h"
#include "hetero/base/config/field_rules.h"
#include "hetero/base/status.h"
#include "hetero/base/violation.h"
#include "hetero/data/file/file.h"

namespace hetero {
namespace {

// A thousand times what a table needs.
constexpr uint64_t kMaxBytes = uint64_t{4} << 20;

struct CarriedMachine {
  std::string_view name;
  std::string_view text;
};

constexpr CarriedMachine kMachines[] = {
#include "trainer/timing/machine_texts.inc"
};

class FirstError : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int line, google::protobuf::io::ColumnNumber column,
                const std::string& message) override {
    if (text_.empty()) text_ = absl::StrCat(line + 1, ":", column + 1, ": ", message);
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

double PerUnit(bool has_rate, double rate) { return has_rate ? 1 / rate : 0; }

}  // namespace

absl::StatusOr<MachineTable> MachineTable::Make(proto::Machine machine, std::string_view source) {
  const std::vector<Violation> violations = CheckFieldRules(machine, "");
  HETERO_RETURN_IF_ERROR(ViolationsError(violations)).With(source);
  MachineTable table;
  const auto twice = [&](std::string_view field, std::string_view name) {
    return absl::InvalidArgumentError(
        absl::StrCat(source, ": ", field, " has two rows '", name, "'; remove one"));
  };
  for (const proto::OperationRate& row : machine.operations()) {
    const Rate rate = {.call = row.call_seconds(),
                       .flop = PerUnit(row.has_flops_per_second(), row.flops_per_second()),
                       .byte = PerUnit(row.has_bytes_per_second(), row.bytes_per_second())};
    if (!table.operations_.emplace(row.name(), rate).second) return twice("operations", row.name());
  }
  for (const proto::TrafficRate& row : machine.traffic()) {
    const Rate rate = {.call = row.call_seconds(), .byte = 1 / row.bytes_per_second()};
    if (!table.traffic_.emplace(row.kind(), rate).second) return twice("traffic", row.kind());
  }
  table.machine_ = std::move(machine);
  return table;
}

absl::StatusOr<MachineTable> MachineTable::Parse(std::string_view text, std::string_view source) {
  proto::Machine machine;
  google::protobuf::TextFormat::Parser parser;
  FirstError error;
  parser.RecordErrorsTo(&error);
  if (!parser.ParseFromString(std::string(text), &machine)) {
    return absl::InvalidArgumentError(absl::StrCat(source, ":", error.text()));
  }
  return Make(std::move(machine), source);
}

double MachineTable::OperationSeconds(std::string_view name, const OperationTotals& totals) const {
  const auto calls = static_cast<double>(totals.calls);
  const double host = is_cpu() ? calls * machine_.host_seconds() : 0;
  const auto found = operations_.find(name);
  if (found == operations_.end()) {
    return host +
           std::max(totals.flops / machine_.peak_flops(), totals.bytes / machine_.copy_bytes());
  }
  const Rate& rate = found->second;
  return host + calls * rate.call + totals.flops * rate.flop + totals.bytes * rate.byte;
}

double MachineTable::TrafficSeconds(std::string_view kind, int64_t bytes) const {
  auto found = traffic_.find(kind);
  if (found == traffic_.end()) found = traffic_.find("exchange");
  if (found == traffic_.end()) return 0;
  return found->second.call + static_cast<double>(bytes) * found->second.byte;
}

std::vector<std::string_view> MachineNames() {
  std::vector<std::string_view> names;
  for (const CarriedMachine& machine : kMachines) names.push_back(machine.name);
  return names;
}

absl::StatusOr<MachineTable> LoadMachine(std::string_view name,
                                         const std::filesystem::path& working_folder) {
  for (const CarriedMachine& machine : kMachines) {
    if (machine.name == name) return MachineTable::Parse(machine.text, name);
  }
  const std::filesystem::path path = working_folder / std::filesystem::path(name);
  const absl::StatusOr<std::string> text = data::ReadFile(path, kMaxBytes);
  if (absl::IsNotFound(text.status())) {
    return absl::NotFoundError(absl::StrCat(
        "--machine=", name, " is no file and none of the tables ",
        absl::StrJoin(MachineNames(), ", "), "; //tools/bench:machine writes one of this machine"));
  }
  HETERO_RETURN_IF_ERROR(text.status()).With("--machine");
  return MachineTable::Parse(*text, path.native());
}

}  // namespace hetero
