#include "hetero/trainer/config/explain_field.h"

#include <cmath>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "google/protobuf/any.pb.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "google/protobuf/text_format.h"
#include "hetero/base/config/field_rule.pb.h"
#include "hetero/base/status.h"
#include "hetero/trainer/config/field_comments.h"
#include "hetero/trainer/config/field_path.h"
#include "hetero/trainer/config/text_errors.h"

namespace hetero {
namespace {

namespace pb = ::google::protobuf;

struct Found {
  const pb::FieldDescriptor* field = nullptr;
  std::unique_ptr<pb::Message> holder;  // what has the field in the configuration; null: nothing
  std::optional<int> index;
};

absl::StatusOr<Found> Find(const pb::Descriptor& type, const pb::Message* message,
                           std::span<const FieldPathPart> path);

// In the message that `any` packs.
absl::StatusOr<Found> FindPacked(const pb::Any& any, std::span<const FieldPathPart> path) {
  HETERO_ASSIGN_OR_RETURN(const pb::Descriptor* const type, PackedType(any));
  const std::unique_ptr<pb::Message> packed(
      pb::MessageFactory::generated_factory()->GetPrototype(type)->New());
  return Find(*type, any.UnpackTo(packed.get()) ? packed.get() : nullptr, path);
}

absl::StatusOr<Found> Find(const pb::Descriptor& type, const pb::Message* message,
                           std::span<const FieldPathPart> path) {
  if (&type == pb::Any::descriptor()) {
    return FindPacked(static_cast<const pb::Any&>(*message), path);
  }
  const FieldPathPart& part = path.front();
  const pb::FieldDescriptor* const field = type.FindFieldByName(part.name);
  if (field == nullptr) {
    return absl::InvalidArgumentError(DescribeUnknownField(part.name, type));
  }
  if (path.size() == 1) {
    Found found{.field = field, .holder = nullptr, .index = part.index};
    if (message != nullptr) {
      found.holder.reset(message->New());
      found.holder->CopyFrom(*message);
    }
    return found;
  }
  if (field->message_type() == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(part.name, " is a single value and has no field '", path[1].name, "'"));
  }
  const pb::Message* below = nullptr;
  if (message != nullptr) {
    const pb::Reflection& reflection = *message->GetReflection();
    if (!field->is_repeated()) {
      below = &reflection.GetMessage(*message, field);
    } else if (const int i = part.index.value_or(0); i < reflection.FieldSize(*message, field)) {
      below = &reflection.GetRepeatedMessage(*message, field, i);
    }
  }
  if (field->message_type() == pb::Any::descriptor() && below == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(part.name, " is not set"));
  }
  return Find(*field->message_type(), below, path.subspan(1));
}

std::string TypeOf(const pb::FieldDescriptor& field) {
  std::string type = field.cpp_type_name();
  if (field.message_type() != nullptr) {
    type = field.message_type()->name();
  } else if (const pb::EnumDescriptor* const words = field.enum_type()) {
    std::vector<std::string> names;
    for (int i = 0; i < words->value_count(); ++i) {
      if (words->value(i)->number() != 0) names.emplace_back(words->value(i)->name());
    }
    type = absl::StrJoin(names, " | ");
  }
  return absl::StrCat(field.is_repeated() ? "list of " : "", type);
}

// Whole numbers with all their digits.
std::string BoundText(double bound) {
  const bool whole = std::abs(bound) < 1e15 && std::trunc(bound) == bound;
  return whole ? absl::StrCat(static_cast<int64_t>(bound)) : absl::StrCat(bound);
}

// "int64, required, 1 to 1024"
std::string TypeAndRule(const pb::FieldDescriptor& field) {
  const proto::FieldRule& rule = field.options().GetExtension(proto::rule);
  std::string text = TypeOf(field);
  if (rule.required()) absl::StrAppend(&text, ", required");
  if (rule.has_at_least() && rule.has_at_most()) {
    absl::StrAppend(&text, ", ", BoundText(rule.at_least()), " to ", BoundText(rule.at_most()));
  } else if (rule.has_at_least()) {
    absl::StrAppend(&text, ", at least ", BoundText(rule.at_least()));
  } else if (rule.has_at_most()) {
    absl::StrAppend(&text, ", at most ", BoundText(rule.at_most()));
  }
  if (rule.has_at_most_on_gpu()) {
    absl::StrAppend(&text, ", at most ", BoundText(rule.at_most_on_gpu()), " on a GPU");
  }
  const pb::OneofDescriptor* const choice = field.real_containing_oneof();
  if (choice == nullptr) return text;
  std::vector<std::string> others;
  for (int i = 0; i < choice->field_count(); ++i) {
    if (choice->field(i) != &field) others.emplace_back(choice->field(i)->name());
  }
  return absl::StrCat(text, ", instead of ", absl::StrJoin(others, " and "));
}

std::string Indented(std::string_view text) {
  return absl::StrCat("  ", absl::StrReplaceAll(text, {{"\n", "\n  "}}));
}

std::string ValueOf(const Found& found) {
  if (found.holder == nullptr) return "unset";
  const pb::Reflection& reflection = *found.holder->GetReflection();
  const int size = found.field->is_repeated() ? reflection.FieldSize(*found.holder, found.field)
                   : reflection.HasField(*found.holder, found.field) ? 1
                                                                     : 0;
  if (size == 0 || found.index.value_or(0) >= size) return "unset";
  std::vector<std::string> values;
  for (int i = 0; i < size; ++i) {
    if (found.index.has_value() && i != *found.index) continue;
    pb::TextFormat::Printer printer;
    printer.SetSingleLineMode(true);
    printer.SetExpandAny(true);
    printer.PrintFieldValueToString(*found.holder, found.field, found.field->is_repeated() ? i : -1,
                                    &values.emplace_back());
    if (found.field->message_type() != nullptr) {
      values.back() = absl::StrCat("{", absl::StripAsciiWhitespace(values.back()), "}");
    }
  }
  return found.field->is_repeated() && !found.index.has_value()
             ? absl::StrCat("[", absl::StrJoin(values, ", "), "]")
             : values[0];
}

}  // namespace

absl::StatusOr<std::string> ExplainField(std::string_view path, const proto::RunConfig& config) {
  const absl::StatusOr<FieldPath> parsed = ParseFieldPath(path, config);
  HETERO_RETURN_IF_ERROR(parsed.status()).With(path);
  const absl::StatusOr<Found> found = Find(*proto::RunConfig::descriptor(), &config, *parsed);
  HETERO_RETURN_IF_ERROR(found.status()).With(path);
  const pb::FieldDescriptor& field = *found->field;
  std::string text = absl::StrCat(ToString(*parsed), ": ", TypeAndRule(field));
  const std::string comment = CommentOf(field);
  if (!comment.empty()) absl::StrAppend(&text, "\n", Indented(comment));
  absl::StrAppend(&text, "\n  here: ", ValueOf(*found));
  const pb::Descriptor* type = field.message_type();
  if (type == pb::Any::descriptor()) {
    HETERO_ASSIGN_OR_RETURN(type, PackedType(config.model()));
  }
  if (type == nullptr) return text;
  if (const std::string of_type = CommentOf(*type); !of_type.empty()) {
    absl::StrAppend(&text, "\n  ", type->name(), ": ",
                    absl::StrReplaceAll(of_type, {{"\n", "\n  "}}));
  }
  for (int i = 0; i < type->field_count(); ++i) {
    absl::StrAppendFormat(&text, "\n    .%-28s %s", type->field(i)->name(),
                          TypeAndRule(*type->field(i)));
  }
  return text;
}

}  // namespace hetero
