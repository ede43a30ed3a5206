#include "hetero/trainer/field_rules.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "google/protobuf/any.pb.h"
#include "google/protobuf/descriptor.h"
#include "hetero/base/config/field_rule.pb.h"
#include "hetero/grid/config/grid.pb.h"

namespace hetero {
namespace {

namespace pb = ::google::protobuf;

class Checker {
 public:
  std::vector<Violation> Run(const pb::Message& message, const std::string& path) {
    CheckMessage(message, path);
    return std::move(violations_);
  }

 private:
  void CheckMessage(const pb::Message& message, const std::string& path) {
    if (message.GetDescriptor() == pb::Any::descriptor()) {
      return CheckPacked(static_cast<const pb::Any&>(message), path);
    }
    for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
      CheckField(message, *message.GetDescriptor()->field(i), path);
    }
  }

  void CheckPacked(const pb::Any& any, const std::string& path) {
    std::string type_name;
    const pb::Descriptor* descriptor = nullptr;
    if (pb::Any::ParseAnyTypeUrl(any.type_url(), &type_name)) {
      descriptor = pb::DescriptorPool::generated_pool()->FindMessageTypeByName(type_name);
    }
    if (descriptor == nullptr) {
      violations_.push_back({path, absl::StrCat(path, " has type '", any.type_url(),
                                                "', which is not part of this program")});
      return;
    }
    const std::unique_ptr<pb::Message> packed(
        pb::MessageFactory::generated_factory()->GetPrototype(descriptor)->New());
    if (!any.UnpackTo(packed.get())) {
      violations_.push_back({path, absl::StrCat(path, " holds damaged bytes of ", type_name)});
      return;
    }
    CheckMessage(*packed, path);
  }

  void CheckField(const pb::Message& message, const pb::FieldDescriptor& field,
                  const std::string& path) {
    const pb::Reflection& reflection = *message.GetReflection();
    const proto::FieldRule& rule = field.options().GetExtension(proto::rule);
    const std::string name = path.empty() ? field.name() : absl::StrCat(path, ".", field.name());
    if (rule.required() && !IsSet(message, field)) {
      violations_.push_back({name, absl::StrCat(name, " is not set; it has no default")});
    }
    if (!field.is_repeated()) {
      if (!reflection.HasField(message, &field)) return;
      if (field.cpp_type() == pb::FieldDescriptor::CPPTYPE_MESSAGE) {
        CheckMessage(reflection.GetMessage(message, &field), name);
      } else {
        CheckBounds(Number(message, field), rule, name);
      }
      return;
    }
    if (field.cpp_type() != pb::FieldDescriptor::CPPTYPE_MESSAGE) return;
    for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
      const pb::Message& element = reflection.GetRepeatedMessage(message, &field, i);
      CheckMessage(element, ElementName(element, absl::StrCat(name, "[", i, "]")));
    }
  }

  static std::string ElementName(const pb::Message& element, std::string by_index) {
    if (element.GetDescriptor() != proto::GridSpec::descriptor()) return by_index;
    const std::string& name = static_cast<const proto::GridSpec&>(element).name();
    return name.empty() ? by_index : name;
  }

  static bool IsSet(const pb::Message& message, const pb::FieldDescriptor& field) {
    const pb::Reflection& reflection = *message.GetReflection();
    if (field.is_repeated()) return reflection.FieldSize(message, &field) > 0;
    if (!reflection.HasField(message, &field)) return false;
    return field.cpp_type() != pb::FieldDescriptor::CPPTYPE_ENUM ||
           reflection.GetEnumValue(message, &field) != 0;
  }

  static double Number(const pb::Message& message, const pb::FieldDescriptor& field) {
    const pb::Reflection& reflection = *message.GetReflection();
    switch (field.cpp_type()) {
      case pb::FieldDescriptor::CPPTYPE_INT64:
        return static_cast<double>(reflection.GetInt64(message, &field));
      case pb::FieldDescriptor::CPPTYPE_DOUBLE:
        return reflection.GetDouble(message, &field);
      default:
        return 0;
    }
  }

  void CheckBounds(double value, const proto::FieldRule& rule, const std::string& name) {
    const auto report = [&](std::string_view words, double bound, bool bound_passes) {
      violations_.push_back(
          {name, absl::StrCat(name, " is ", value, ", must be ", words, " ", bound,
                              bound_passes ? absl::StrCat("; nearest: ", bound) : "")});
    };
    // Written so that NaN breaks every bound.
    if (rule.has_at_least() && !(value >= rule.at_least()))
      report("at least", rule.at_least(), true);
    if (rule.has_above() && !(value > rule.above())) report("above", rule.above(), false);
    if (rule.has_at_most() && !(value <= rule.at_most())) report("at most", rule.at_most(), true);
    if (rule.has_below() && !(value < rule.below())) report("below", rule.below(), false);
  }

  std::vector<Violation> violations_;
};

}  // namespace

std::vector<Violation> CheckFieldRules(const pb::Message& message, std::string_view path) {
  return Checker().Run(message, std::string(path));
}

}  // namespace hetero
