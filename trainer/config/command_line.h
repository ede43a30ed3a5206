#ifndef HETERO_TRAINER_CONFIG_COMMAND_LINE_H_
#define HETERO_TRAINER_CONFIG_COMMAND_LINE_H_

// The command line of the training program as a value: what its flags are, and what was typed.

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace hetero {

// A field of the configuration set on the command line, by "--set path=value" or by a flag of the
// field's own, "--device=cuda".
struct FieldFlag {
  std::string_view prefix;          // "--set " or "--": what stands before the assignment
  std::string assignment;           // "path=value"
  std::string_view short_for = {};  // of a flag with another name than its field: "save"

  std::string ToString() const;
  std::string_view path() const;  // without blanks around it

  bool operator==(const FieldFlag&) const = default;
};

struct CommandLine {
  std::optional<std::string> config;
  std::optional<std::string> recipe;
  std::optional<std::string> cpu_target;
  std::optional<std::string> trace;
  std::optional<std::string> picture;
  std::optional<std::string> machine;
  std::optional<std::string> replay;
  std::vector<FieldFlag> fields;  // in the order in which they were typed
  bool dry_run = false;
  bool profile = false;
  std::optional<std::string> explain;
  bool print_config = false;
  bool list_recipes = false;
  bool version = false;
  bool help = false;

  bool operator==(const CommandLine&) const = default;
};

// `arguments` without the program's name. A value follows its flag after "=" or as the next
// argument; --set may repeat, another flag may not.
// Errors: INVALID_ARGUMENT naming the flag and what it takes: one that does not exist, that has no
// value, an empty one or two, that sets a field which --set sets too; --config beside --recipe;
// --replay beside either or a field.
absl::StatusOr<CommandLine> ParseCommandLine(std::span<char* const> arguments);

struct FlagDescription {
  std::string form;  // as it is to be written, "--config=FILE"
  std::string_view meaning;
};

std::vector<FlagDescription> FlagTable();

}  // namespace hetero

#endif  // HETERO_TRAINER_CONFIG_COMMAND_LINE_H_
