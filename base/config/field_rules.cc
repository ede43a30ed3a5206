#include "hetero/base/config/field_rules.h"

#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "google/protobuf/any.pb.h"
#include "hetero/base/config/field_rule.pb.h"

namespace hetero {
namespace {

namespace pb = ::google::protobuf;

using pb::FieldDescriptor;

std::string Text(double value) { return ShortestText(value); }

std::string Text(int64_t value) { return absl::StrCat(value); }

// A bound in the type of the field. Those of integers beyond its range mean that it has none.
template <typename T>
T Bound(double bound) {
  if constexpr (std::is_same_v<T, int64_t>) {
    if (bound >= 0x1p63) return std::numeric_limits<int64_t>::max();
  }
  return static_cast<T>(bound);
}

class Checker {
 public:
  explicit Checker(bool on_gpu) : on_gpu_(on_gpu) {}

  std::vector<Violation> Run(const pb::Message& message, const std::string& path) {
    CheckMessage(message, path);
    return std::move(violations_);
  }

 private:
  void CheckMessage(const pb::Message& message, const std::string& path) {
    if (message.GetDescriptor() == pb::Any::descriptor()) return;
    for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
      CheckField(message, *message.GetDescriptor()->field(i), path);
    }
  }

  void CheckField(const pb::Message& message, const FieldDescriptor& field,
                  const std::string& path) {
    const pb::Reflection& reflection = *message.GetReflection();
    const proto::FieldRule& rule = field.options().GetExtension(proto::rule);
    const std::string name = path.empty() ? field.name() : absl::StrCat(path, ".", field.name());
    const bool is_set = field.is_repeated() ? reflection.FieldSize(message, &field) > 0
                                            : reflection.HasField(message, &field);
    if (!is_set) {
      if (rule.required()) {
        violations_.push_back(Refuse(name, " is not set; it has no default"));
      }
      return;
    }
    if (!field.is_repeated()) return CheckValue(message, field, rule, name);
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_INT64) {
      for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
        CheckBounds(reflection.GetRepeatedInt64(message, &field, i), rule,
                    absl::StrCat(name, "[", i, "]"));
      }
    }
    if (field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) return;
    for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
      const pb::Message& element = reflection.GetRepeatedMessage(message, &field, i);
      CheckMessage(element, ElementName(element, absl::StrCat(name, "[", i, "]")));
    }
  }

  static std::string ElementName(const pb::Message& element, std::string by_index) {
    const FieldDescriptor* field = element.GetDescriptor()->FindFieldByName("name");
    if (field == nullptr || field->cpp_type() != FieldDescriptor::CPPTYPE_STRING) return by_index;
    std::string name = element.GetReflection()->GetString(element, field);
    return name.empty() ? by_index : name;
  }

  void CheckValue(const pb::Message& message, const FieldDescriptor& field,
                  const proto::FieldRule& rule, const std::string& name) {
    const pb::Reflection& reflection = *message.GetReflection();
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_MESSAGE:
        return CheckMessage(reflection.GetMessage(message, &field), name);
      case FieldDescriptor::CPPTYPE_INT64:
        return CheckBounds(reflection.GetInt64(message, &field), rule, name);
      case FieldDescriptor::CPPTYPE_DOUBLE:
        return CheckBounds(reflection.GetDouble(message, &field), rule, name);
      case FieldDescriptor::CPPTYPE_ENUM:
        return CheckEnum(reflection.GetEnumValue(message, &field), *field.enum_type(), name);
      case FieldDescriptor::CPPTYPE_STRING:
        if (reflection.GetString(message, &field).empty()) {
          violations_.push_back(Refuse(name, rule.required()
                                                 ? " is empty; it has no default"
                                                 : " is empty; give it a value or leave it out"));
        }
        return;
      default:
        return;
    }
  }

  void CheckEnum(int value, const pb::EnumDescriptor& type, const std::string& name) {
    if (value != 0 && type.FindValueByNumber(value) != nullptr) return;
    const std::vector<std::string_view> legal = LegalNames(type);
    Violation violation = Refuse(
        name,
        absl::StrCat(" is ", value == 0 ? type.FindValueByNumber(0)->name() : Text(int64_t{value}),
                     ", must be one of ", absl::StrJoin(legal, ", ")));
    for (std::string_view correction : legal) {
      violation.corrections.push_back({{name, std::string(correction)}});
    }
    violations_.push_back(std::move(violation));
  }

  template <typename T>
  void CheckBounds(T value, const proto::FieldRule& rule, const std::string& name) {
    const auto report = [&](std::string_view words, double bound, std::string_view where = "") {
      const std::string text = Text(Bound<T>(bound));
      violations_.push_back(Refuse(
          name, absl::StrCat(" is ", Text(value), ", must be ", words, " ", text, where), {text}));
    };
    // Written so that NaN breaks every bound.
    if (rule.has_at_least() && !(value >= Bound<T>(rule.at_least()))) {
      report("at least", rule.at_least());
    } else if (rule.has_at_most() && !(value <= Bound<T>(rule.at_most()))) {
      report("at most", rule.at_most());
    } else if (on_gpu_ && rule.has_at_most_on_gpu() &&
               !(value <= Bound<T>(rule.at_most_on_gpu()))) {
      report("at most", rule.at_most_on_gpu(), " on a GPU");
    }
  }

  const bool on_gpu_;
  std::vector<Violation> violations_;
};

}  // namespace

std::vector<Violation> CheckFieldRules(const pb::Message& message, std::string_view path,
                                       bool on_gpu) {
  return Checker(on_gpu).Run(message, std::string(path));
}

std::vector<std::string_view> LegalNames(const pb::EnumDescriptor& descriptor) {
  std::vector<std::string_view> names;
  for (int i = 0; i < descriptor.value_count(); ++i) {
    if (descriptor.value(i)->number() != 0) names.push_back(descriptor.value(i)->name());
  }
  return names;
}

}  // namespace hetero
