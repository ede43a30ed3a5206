#include "hetero/trainer/config/text_errors.h"

#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "google/protobuf/descriptor.h"
#include "hetero/base/config/field_rules.h"
#include "hetero/base/nearest_name.h"
#include "hetero/trainer/run_config.pb.h"

namespace hetero {
namespace {

namespace pb = ::google::protobuf;

// The name of an unknown field and the message it is not in, from the parser's report
//   Message type "a.B" has no field named "c".
struct UnknownField {
  const pb::Descriptor* message = nullptr;
  std::string name;
};

std::optional<UnknownField> ParseUnknownField(std::string_view report) {
  const std::vector<std::string_view> parts = absl::StrSplit(report, '"');
  if (parts.size() != 5 || parts[0] != "Message type ") return std::nullopt;
  const pb::Descriptor* message =
      pb::DescriptorPool::generated_pool()->FindMessageTypeByName(std::string(parts[1]));
  if (message == nullptr) return std::nullopt;
  return UnknownField{message, std::string(parts[3])};
}

// The enum of the first field of that name, in `message` or further down; null when none is one.
const pb::EnumDescriptor* FindEnum(const pb::Descriptor& message, const std::string& field) {
  if (const pb::FieldDescriptor* own = message.FindFieldByName(field)) {
    if (own->enum_type() != nullptr) return own->enum_type();
  }
  for (int i = 0; i < message.field_count(); ++i) {
    const pb::Descriptor* below = message.field(i)->message_type();
    if (below == nullptr) continue;
    if (const pb::EnumDescriptor* found = FindEnum(*below, field)) return found;
  }
  return nullptr;
}

// What to say instead of the parser's report
//   Unknown enumeration value of "c" for field "b".
// about a field of `text`, which is a RunConfig with packed messages.
std::optional<std::string> ExplainUnknownValue(std::string_view report, std::string_view text) {
  const std::vector<std::string> parts = absl::StrSplit(report, '"');
  if (parts.size() != 5 || parts[0] != "Unknown enumeration value of ") return std::nullopt;
  std::vector<const pb::Descriptor*> messages = {proto::RunConfig::descriptor()};
  constexpr std::string_view kPacked = "type.googleapis.com/";
  for (size_t at = text.find(kPacked); at != text.npos; at = text.find(kPacked, at + 1)) {
    const std::string_view name = text.substr(at + kPacked.size());
    const pb::Descriptor* packed = pb::DescriptorPool::generated_pool()->FindMessageTypeByName(
        std::string(name.substr(0, name.find(']'))));
    if (packed != nullptr) messages.push_back(packed);
  }
  for (const pb::Descriptor* message : messages) {
    const pb::EnumDescriptor* type = FindEnum(*message, parts[3]);
    if (type != nullptr) return DescribeUnknownValue(parts[3], parts[1], *type);
  }
  return std::nullopt;
}

}  // namespace

std::string DescribeUnknownField(std::string_view name, const pb::Descriptor& message) {
  std::vector<std::string_view> names;
  for (int i = 0; i < message.field_count(); ++i) names.push_back(message.field(i)->name());
  const std::string_view nearest = NearestName(name, names);
  return absl::StrCat(message.name(), " has no field '", name, "'; ",
                      nearest.empty() ? absl::StrCat("it has ", absl::StrJoin(names, ", "))
                                      : absl::StrCat("nearest: '", nearest, "'"));
}

std::string DescribeUnknownValue(std::string_view field, std::string_view value,
                                 const pb::EnumDescriptor& type) {
  const std::vector<std::string_view> names = LegalNames(type);
  const std::string_view nearest = NearestName(absl::AsciiStrToUpper(value), names);
  return absl::StrCat(field, " is '", value, "', must be one of ", absl::StrJoin(names, ", "),
                      nearest.empty() ? "" : "; nearest: ", nearest);
}

void FirstTextError::AddError(int line, pb::io::ColumnNumber column, const std::string& message) {
  if (error_) return;
  error_ = {line + 1, column + 1, ExplainUnknownValue(message, text_).value_or(message)};
  const std::optional<UnknownField> unknown = ParseUnknownField(message);
  if (!unknown) return;
  error_->message = DescribeUnknownField(unknown->name, *unknown->message);
  // The parser stands behind the name.
  const std::vector<std::string_view> lines = absl::StrSplit(text_, '\n');
  const size_t begin =
      lines[static_cast<size_t>(line)].rfind(unknown->name, static_cast<size_t>(column));
  if (begin != std::string_view::npos) error_->column = static_cast<int>(begin) + 1;
}

absl::Status FirstTextError::ToStatus(std::string_view source) const {
  const auto& [line, column, message] = *error_;
  return absl::InvalidArgumentError(absl::StrCat(source, ":", line, ":", column, ": ", message));
}

}  // namespace hetero
