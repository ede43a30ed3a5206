#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/any.pb.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "google/protobuf/text_format.h"
#include "hetero/base/counted.h"
#include "hetero/base/status.h"
#include "hetero/trainer/config/config_text.h"
#include "hetero/trainer/config/field_path.h"
#include "hetero/trainer/config/text_errors.h"

namespace hetero {
namespace {

namespace pb = ::google::protobuf;

absl::Status CheckIndex(const pb::Message& message, const pb::FieldDescriptor& field, int index) {
  const int size = message.GetReflection()->FieldSize(message, &field);
  if (index <= size) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(field.name(), "[", index, "] is beyond its ",
                                                 Counted(size, "element"),
                                                 "; nearest: ", field.name(), "[", size, "]"));
}

// The name of the enum value that `text` means: a name in any case, or a number.
absl::StatusOr<std::string> EnumName(const pb::FieldDescriptor& field, std::string_view text) {
  const pb::EnumDescriptor& type = *field.enum_type();
  const std::string name = absl::AsciiStrToUpper(text);
  const pb::EnumValueDescriptor* value = type.FindValueByName(name);
  int number = 0;
  if (value == nullptr && absl::SimpleAtoi(text, &number)) value = type.FindValueByNumber(number);
  if (value != nullptr && value->number() != 0) return value->name();
  return absl::InvalidArgumentError(DescribeUnknownValue(field.name(), text, type));
}

absl::Status Assign(pb::Message& message, const pb::FieldDescriptor& field,
                    std::optional<int> index, std::string_view value) {
  const bool is_message = field.cpp_type() == pb::FieldDescriptor::CPPTYPE_MESSAGE;
  std::string text(value);
  const bool is_list = field.is_repeated() && !index && value.starts_with('[');
  if (field.cpp_type() == pb::FieldDescriptor::CPPTYPE_STRING && !value.starts_with('"') &&
      !value.starts_with('\'') && !is_list) {
    text = absl::StrCat("\"", absl::CEscape(value), "\"");
  }
  if (is_message && !value.starts_with('{') && !value.starts_with('[')) {
    return absl::InvalidArgumentError(absl::StrCat(
        field.name(), " is a message, its value must be in braces; nearest: ", field.name(), "={",
        value, "}"));
  }
  if (field.enum_type() != nullptr && !field.is_repeated()) {
    HETERO_ASSIGN_OR_RETURN(text, EnumName(field, value));
  }
  std::unique_ptr<pb::Message> parsed(message.New());
  pb::TextFormat::Parser parser;
  text = absl::StrCat(field.name(), ": ", text);
  FirstTextError error(text);
  parser.RecordErrorsTo(&error);
  if (!parser.ParseFromString(text, parsed.get())) {
    return absl::InvalidArgumentError(error.message());
  }
  const pb::Reflection& reflection = *message.GetReflection();
  if (!index) {
    reflection.ClearField(&message, &field);
    message.MergeFrom(*parsed);
    return absl::OkStatus();
  }
  if (const int count = reflection.FieldSize(*parsed, &field); count != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat(field.name(), "[", *index, "] takes 1 value, not ", count));
  }
  const int size = reflection.FieldSize(message, &field);
  message.MergeFrom(*parsed);
  if (*index < size) {
    reflection.SwapElements(&message, &field, *index, size);
    reflection.RemoveLast(&message, &field);
  }
  return absl::OkStatus();
}

absl::Status Set(pb::Message& message, std::span<const FieldPathPart> path, std::string_view value);

// Sets a field of the message packed into `any`.
absl::Status SetPacked(pb::Any& any, std::span<const FieldPathPart> path, std::string_view value) {
  HETERO_ASSIGN_OR_RETURN(const pb::Descriptor* const descriptor, PackedType(any));
  const std::unique_ptr<pb::Message> packed(
      pb::MessageFactory::generated_factory()->GetPrototype(descriptor)->New());
  if (!any.UnpackTo(packed.get())) {
    return absl::InvalidArgumentError(
        absl::StrCat("the packed ", descriptor->full_name(), " is damaged"));
  }
  HETERO_RETURN_IF_ERROR(Set(*packed, path, value));
  any.PackFrom(*packed);
  return absl::OkStatus();
}

absl::Status Set(pb::Message& message, std::span<const FieldPathPart> path,
                 std::string_view value) {
  if (message.GetDescriptor() == pb::Any::descriptor()) {
    return SetPacked(static_cast<pb::Any&>(message), path, value);
  }
  const FieldPathPart& part = path.front();
  const pb::FieldDescriptor* field = message.GetDescriptor()->FindFieldByName(part.name);
  if (field == nullptr) {
    return absl::InvalidArgumentError(DescribeUnknownField(part.name, *message.GetDescriptor()));
  }
  if (part.index && !field->is_repeated()) {
    return absl::InvalidArgumentError(
        absl::StrCat(part.name, " is a single field; nearest: ", part.name));
  }
  if (part.index) {
    HETERO_RETURN_IF_ERROR(CheckIndex(message, *field, *part.index));
  }
  if (path.size() == 1) return Assign(message, *field, part.index, value);
  if (field->cpp_type() != pb::FieldDescriptor::CPPTYPE_MESSAGE) {
    return absl::InvalidArgumentError(
        absl::StrCat(part.name, " is a single value and has no field '", path[1].name, "'"));
  }
  const pb::Reflection& reflection = *message.GetReflection();
  if (!field->is_repeated()) {
    return Set(*reflection.MutableMessage(&message, field), path.subspan(1), value);
  }
  if (!part.index) {
    return absl::InvalidArgumentError(
        absl::StrCat(part.name, " is a list; nearest: ", part.name, "[0]"));
  }
  pb::Message* element = *part.index < reflection.FieldSize(message, field)
                             ? reflection.MutableRepeatedMessage(&message, field, *part.index)
                             : reflection.AddMessage(&message, field);
  return Set(*element, path.subspan(1), value);
}

}  // namespace

absl::Status SetField(std::string_view assignment, proto::RunConfig& config) {
  const size_t equals = assignment.find('=');
  const absl::StatusOr<FieldPath> path =
      ParseFieldPath(absl::StripAsciiWhitespace(assignment.substr(0, equals)), config);
  HETERO_RETURN_IF_ERROR(path.status()).With(assignment);
  if (equals == std::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat(assignment, ": must be path=value"));
  }
  proto::RunConfig changed = config;
  HETERO_RETURN_IF_ERROR(
      Set(changed, *path, absl::StripAsciiWhitespace(assignment.substr(equals + 1))))
      .With(assignment);
  config = std::move(changed);
  return absl::OkStatus();
}

}  // namespace hetero
