#include "hetero/trainer/config/command_line.h"

#include <algorithm>
#include <map>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "hetero/base/nearest_name.h"
#include "hetero/base/status.h"
#include "hetero/trainer/run_config.pb.h"

namespace hetero {
namespace {

constexpr std::string_view kSet = "--set ";

struct AnyField {};  // --set
struct NamedField {
  std::string_view path = {};  // empty: the flag's own name
};

struct Flag {
  std::string_view name;
  std::string_view takes;  // "FILE"; empty: nothing, or true or false
  std::string_view meaning;
  std::variant<AnyField, NamedField, bool CommandLine::*, std::optional<std::string> CommandLine::*>
      target;

  // "--config=FILE", as it is to be written.
  std::string Form() const {
    if (std::holds_alternative<AnyField>(target)) return absl::StrCat(kSet, takes);
    return absl::StrCat("--", name, takes.empty() ? "" : "=", takes);
  }
  bool is_switch() const { return std::holds_alternative<bool CommandLine::*>(target); }
};

constexpr Flag kFlags[] = {
    {"set", "PATH=VALUE",
     "Change a field of the configuration, any that --print_config shows; may repeat, and of two "
     "for one field the later counts.",
     AnyField()},
    {"recipe", "NAME", "Run configuration that the program carries; --list_recipes names them.",
     &CommandLine::recipe},
    {"config", "FILE", "File with a run configuration in text format, instead of a recipe.",
     &CommandLine::config},
    {"device", "cpu|cuda", "Short for --set device=cpu|cuda.", NamedField()},
    {"launch", "threads:N|processes:N", "Short for --set launch=threads:N|processes:N.",
     NamedField()},
    {"save", "FOLDER", "Short for --set checkpoint.save.folder=FOLDER.",
     NamedField{"checkpoint.save.folder"}},
    {"load", "FOLDER|latest", "Short for --set checkpoint.load.folder=FOLDER|latest.",
     NamedField{"checkpoint.load.folder"}},
    {"cpu_target", "avx2|avx512",
     "Instructions that the CPU uses, instead of the widest that it has.",
     &CommandLine::cpu_target},
    {"dry_run", "",
     "Print whether the run can begin with its checkpoint, the plan, what one rank of each class "
     "needs and what was proved, run nothing.",
     &CommandLine::dry_run},
    {"machine", "FILE|h200",
     "Table of a machine that was measured: a dry run predicts the time of a step there.",
     &CommandLine::machine},
    {"profile", "", "Print where the time of a step went, after the run.", &CommandLine::profile},
    {"trace", "FILE", "File for a trace of what every rank did when; open it in ui.perfetto.dev.",
     &CommandLine::trace},
    {"picture", "FILE", "File for a drawing (SVG) of ranks, modules, stages, lanes and edges.",
     &CommandLine::picture},
    {"replay", "CAPSULE",
     "Run the step of a capsule again in this process, and say what in it is infinite or NaN.",
     &CommandLine::replay},
    {"explain", "PATH",
     "Print what a field of the configuration means, its bounds and its value, and stop.",
     &CommandLine::explain},
    {"print_config", "", "Print the resolved run configuration and stop.",
     &CommandLine::print_config},
    {"list_recipes", "", "Print what the recipes are for and stop.", &CommandLine::list_recipes},
    {"version", "", "Print commit, compiler, libraries and devices of this program and stop.",
     &CommandLine::version},
    {"help", "", "Print this and stop; so does -h.", &CommandLine::help},
};

absl::Status UnknownFlag(std::string_view text) {
  const std::string_view name = text.substr(0, text.find('='));
  const std::string first(name.substr(0, name.find_first_of(".[")));
  if (proto::RunConfig::descriptor()->FindFieldByName(first) != nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        "unknown flag --", name, "; fields are set with --set path=value; nearest: ", kSet, text));
  }
  std::vector<std::string_view> known;
  for (const Flag& flag : kFlags) known.push_back(flag.name);
  const std::string_view nearest = NearestName(name, known);
  return absl::InvalidArgumentError(
      absl::StrCat("unknown flag --", name, "; ",
                   nearest.empty() ? "--help lists them" : absl::StrCat("nearest: --", nearest)));
}

// Takes arguments one after the other.
class Parser {
 public:
  absl::Status Take(const Flag& flag, std::string_view value) {
    if (flag.is_switch()) return TakeSwitch(flag, value);
    if (absl::StripAsciiWhitespace(value).empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--", flag.name, " is empty; write ", flag.Form()));
    }
    if (std::holds_alternative<AnyField>(flag.target)) {
      return AddField({.prefix = kSet, .assignment = std::string(value)});
    }
    HETERO_RETURN_IF_ERROR(TakeOnce(flag, value));
    if (const NamedField* field = std::get_if<NamedField>(&flag.target)) {
      if (field->path.empty()) {
        return AddField({.prefix = "--", .assignment = absl::StrCat(flag.name, "=", value)});
      }
      return AddField({.prefix = "--",
                       .assignment = absl::StrCat(field->path, "=", value),
                       .short_for = flag.name});
    }
    line_.*std::get<std::optional<std::string> CommandLine::*>(flag.target) = std::string(value);
    return absl::OkStatus();
  }

  absl::StatusOr<CommandLine> Finish() && {
    if (line_.config.has_value() && line_.recipe.has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--config=", *line_.config, " and --recipe=", *line_.recipe,
                       " are both whole configurations; give one of them, and change fields with "
                       "--set"));
    }
    const bool configures =
        line_.config.has_value() || line_.recipe.has_value() || !line_.fields.empty();
    if (line_.replay.has_value() && configures) {
      return absl::InvalidArgumentError(
          absl::StrCat("--replay=", *line_.replay,
                       " has the configuration of its capsule; give neither --config, --recipe nor "
                       "fields beside it"));
    }
    return std::move(line_);
  }

 private:
  absl::Status TakeSwitch(const Flag& flag, std::string_view value) {
    bool& on = line_.*std::get<bool CommandLine::*>(flag.target);
    if (!absl::SimpleAtob(value, &on)) {
      return absl::InvalidArgumentError(absl::StrCat("--", flag.name, " is '", value, "'; write --",
                                                     flag.name, ", --", flag.name, "=true or --",
                                                     flag.name, "=false"));
    }
    return TakeOnce(flag, value);
  }

  absl::Status TakeOnce(const Flag& flag, std::string_view value) {
    const auto [first, is_first] = taken_.emplace(flag.name, value);
    if (is_first) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("--", flag.name, "=", first->second, " and --",
                                                   flag.name, "=", value,
                                                   " are both given; give one of them"));
  }

  // A flag of the field's own beside --set: neither is the obvious one to drop.
  absl::Status AddField(FieldFlag field) {
    const auto other = std::ranges::find_if(line_.fields, [&](const FieldFlag& before) {
      return before.path() == field.path() && before.prefix != field.prefix;
    });
    if (other != line_.fields.end()) {
      return absl::InvalidArgumentError(absl::StrCat(other->ToString(), " and ", field.ToString(),
                                                     " set the same field; give one of them"));
    }
    line_.fields.push_back(std::move(field));
    return absl::OkStatus();
  }

  CommandLine line_;
  std::map<std::string_view, std::string> taken_;  // flag -> its value
};

}  // namespace

std::string FieldFlag::ToString() const {
  if (short_for.empty()) return absl::StrCat(prefix, assignment);
  return absl::StrCat(prefix, short_for, assignment.substr(assignment.find('=')));
}

std::string_view FieldFlag::path() const {
  return absl::StripAsciiWhitespace(std::string_view(assignment).substr(0, assignment.find('=')));
}

absl::StatusOr<CommandLine> ParseCommandLine(std::span<char* const> arguments) {
  Parser parser;
  for (size_t i = 0; i < arguments.size(); ++i) {
    std::string_view text = arguments[i];
    if (text == "-h") text = "--help";
    if (!absl::ConsumePrefix(&text, "--")) {
      return absl::InvalidArgumentError(
          absl::StrCat("unexpected argument \"", text, "\"; fields are set with --set path=value"));
    }
    const size_t equals = text.find('=');
    const auto flag = std::ranges::find(kFlags, text.substr(0, equals), &Flag::name);
    if (flag == std::end(kFlags)) return UnknownFlag(text);
    std::string_view value = "true";
    if (equals != text.npos) {
      value = text.substr(equals + 1);
    } else if (!flag->is_switch()) {
      const bool has_value =
          i + 1 < arguments.size() && !std::string_view(arguments[i + 1]).starts_with("--");
      if (!has_value) {
        return absl::InvalidArgumentError(
            absl::StrCat("--", flag->name, " has no value; write ", flag->Form()));
      }
      value = arguments[++i];
    }
    HETERO_RETURN_IF_ERROR(parser.Take(*flag, value));
  }
  return std::move(parser).Finish();
}

std::vector<FlagDescription> FlagTable() {
  std::vector<FlagDescription> table;
  for (const Flag& flag : kFlags) table.push_back({flag.Form(), flag.meaning});
  return table;
}

}  // namespace hetero
