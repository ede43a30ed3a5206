#include "hetero/trainer/config/field_path.h"

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace hetero {
namespace {

// Replaces "<module>" by "grids[i]", the grid of that name.
void ResolveModuleName(const proto::RunConfig& config, FieldPathPart& first) {
  if (first.index || config.GetDescriptor()->FindFieldByName(first.name) != nullptr) return;
  for (int i = 0; i < config.grids_size(); ++i) {
    if (config.grids(i).name() != first.name) continue;
    first = {.name = "grids", .index = i};
    return;
  }
}

}  // namespace

absl::StatusOr<FieldPath> ParseFieldPath(std::string_view path, const proto::RunConfig& config) {
  FieldPath parts;
  for (std::string_view piece : absl::StrSplit(path, '.')) {
    FieldPathPart part;
    if (const size_t bracket = piece.find('['); bracket != std::string_view::npos) {
      std::string_view digits = piece.substr(bracket + 1);
      int index = 0;
      if (!absl::ConsumeSuffix(&digits, "]") || !absl::SimpleAtoi(digits, &index) || index < 0) {
        return absl::InvalidArgumentError(
            absl::StrCat("'", piece, "' is not a field or field[index]"));
      }
      part.index = index;
      piece = piece.substr(0, bracket);
    }
    if (piece.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("a field name is missing in '", path, "'"));
    }
    part.name = std::string(piece);
    parts.push_back(std::move(part));
  }
  ResolveModuleName(config, parts.front());
  return parts;
}

std::string ToString(const FieldPath& path) {
  std::string text;
  for (const FieldPathPart& part : path) {
    absl::StrAppend(&text, text.empty() ? "" : ".", part.name);
    if (part.index.has_value()) absl::StrAppend(&text, "[", *part.index, "]");
  }
  return text;
}

absl::StatusOr<const google::protobuf::Descriptor*> PackedType(const google::protobuf::Any& any) {
  std::string type_name;
  if (!google::protobuf::Any::ParseAnyTypeUrl(any.type_url(), &type_name)) {
    return absl::InvalidArgumentError("the message that it continues into is not set");
  }
  const google::protobuf::Descriptor* const descriptor =
      google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(type_name);
  if (descriptor != nullptr) return descriptor;
  return absl::InvalidArgumentError(
      absl::StrCat("message type ", type_name, " is not part of this program"));
}

}  // namespace hetero
