#include "hetero/trainer/config/load_config.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "hetero/base/status.h"
#include "hetero/data/file/file.h"
#include "hetero/trainer/config/config_text.h"
#include "hetero/trainer/recipes/recipes.h"

namespace hetero {
namespace {

namespace pb = ::google::protobuf;

// A thousand times what a configuration needs.
constexpr uint64_t kMaxConfigBytes = uint64_t{4} << 20;

// The alternative that is set of each choice: "schedule.warmup" -> "schedule.warmup_steps".
using Alternatives = std::map<std::string, std::string>;

void AddAlternatives(const pb::Message& message, const std::string& prefix,
                     Alternatives& alternatives) {
  std::vector<const pb::FieldDescriptor*> fields;
  message.GetReflection()->ListFields(message, &fields);
  for (const pb::FieldDescriptor* field : fields) {
    const std::string path = absl::StrCat(prefix, field->name());
    if (const pb::OneofDescriptor* choice = field->real_containing_oneof()) {
      alternatives[absl::StrCat(prefix, choice->name())] = path;
    }
    if (field->message_type() == nullptr) continue;
    if (!field->is_repeated()) {
      AddAlternatives(message.GetReflection()->GetMessage(message, field), absl::StrCat(path, "."),
                      alternatives);
      continue;
    }
    for (int i = 0; i < message.GetReflection()->FieldSize(message, field); ++i) {
      AddAlternatives(message.GetReflection()->GetRepeatedMessage(message, field, i),
                      absl::StrCat(path, "[", i, "]."), alternatives);
    }
  }
}

Alternatives AlternativesOf(const proto::RunConfig& config) {
  Alternatives alternatives;
  AddAlternatives(config, "", alternatives);
  return alternatives;
}

// Whether one of two paths is the other or lies below it.
bool Touch(std::string_view one, std::string_view other) {
  if (one.size() > other.size()) std::swap(one, other);
  if (!other.starts_with(one)) return false;
  return one.size() == other.size() || other[one.size()] == '.' || other[one.size()] == '[';
}

// Control characters that no text has.
bool IsText(std::string_view bytes) {
  return std::ranges::none_of(bytes, [](unsigned char byte) {
    return absl::ascii_iscntrl(byte) && !absl::ascii_isspace(byte);
  });
}

absl::StatusOr<std::string> ReadConfig(const std::filesystem::path& path) {
  HETERO_ASSIGN_OR_RETURN(std::string bytes, data::ReadFile(path, kMaxConfigBytes));
  if (!IsText(bytes)) {
    return absl::InvalidArgumentError(absl::StrCat(
        path.native(), " is not text; it must hold a run configuration as --print_config shows"));
  }
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  return std::string(absl::StripPrefix(bytes, kByteOrderMark));
}

absl::StatusOr<proto::RunConfig> LoadFile(const std::filesystem::path& working_folder,
                                          const std::string& file) {
  const absl::StatusOr<std::string> text = ReadConfig(working_folder / file);
  HETERO_RETURN_IF_ERROR(text.status()).With("--config");
  HETERO_ASSIGN_OR_RETURN(proto::RunConfig config, ParseRunConfig(*text, file));
  if (config.ByteSizeLong() > 0) return config;
  return absl::InvalidArgumentError(
      absl::StrCat("--config: ", file,
                   " is empty, it sets no field; --print_config writes a whole one to start "
                   "from"));
}

absl::StatusOr<proto::RunConfig> LoadRecipe(const std::string& name) {
  const std::optional<std::string_view> recipe = FindRecipe(name);
  if (recipe.has_value()) return ParseRunConfig(*recipe, name);
  return absl::NotFoundError(absl::StrCat("--recipe=", name, " does not exist; there are ",
                                          absl::StrJoin(RecipeNames(), ", ")));
}

}  // namespace

absl::StatusOr<std::vector<std::string>> SetFields(std::span<const FieldFlag> flags,
                                                   std::string_view source,
                                                   proto::RunConfig& config) {
  std::vector<std::string> replaced;
  for (size_t i = 0; i < flags.size(); ++i) {
    const Alternatives before = AlternativesOf(config);
    if (const absl::Status set = SetField(flags[i].assignment, config); !set.ok()) {
      return absl::Status(set.code(), absl::StrCat(flags[i].prefix, set.message()));
    }
    const Alternatives after = AlternativesOf(config);
    for (const auto& [choice, old_path] : before) {
      const auto now = after.find(choice);
      if (now == after.end() || now->second == old_path) continue;
      const std::span<const FieldFlag> earlier = flags.first(i);
      const auto other = std::ranges::find_if(
          earlier, [&](const FieldFlag& flag) { return Touch(flag.path(), old_path); });
      if (other != earlier.end()) {
        return absl::InvalidArgumentError(absl::StrCat(other->ToString(), " and ",
                                                       flags[i].ToString(),
                                                       " exclude each other; give one of them"));
      }
      replaced.push_back(
          absl::StrCat(flags[i].ToString(), " takes the place of ", old_path, " of ", source));
    }
  }
  return replaced;
}

absl::StatusOr<LoadedConfig> LoadConfig(const CommandLine& line,
                                        const std::filesystem::path& working_folder) {
  const std::string recipe = line.recipe.value_or(std::string(kDefaultRecipe));
  LoadedConfig loaded;
  HETERO_ASSIGN_OR_RETURN(loaded.config, line.config.has_value()
                                             ? LoadFile(working_folder, *line.config)
                                             : LoadRecipe(recipe));
  HETERO_ASSIGN_OR_RETURN(loaded.replaced,
                          SetFields(line.fields, line.config.value_or(recipe), loaded.config));
  return loaded;
}

}  // namespace hetero
