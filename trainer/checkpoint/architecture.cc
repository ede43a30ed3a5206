#include "hetero/trainer/checkpoint/architecture.h"

#include <cstdint>
#include <memory>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "hetero/base/config/field_rule.pb.h"
#include "hetero/base/fnv.h"

namespace hetero {
namespace {

namespace pb = ::google::protobuf;

constexpr char kType[] = "model";

// Of a repeated field element `index`, of another one the value with index -1.
nlohmann::json Scalar(const pb::Message& message, const pb::FieldDescriptor& field, int index) {
  const pb::Reflection& values = *message.GetReflection();
  const bool repeated = index >= 0;
  switch (field.cpp_type()) {
    case pb::FieldDescriptor::CPPTYPE_BOOL:
      return repeated ? values.GetRepeatedBool(message, &field, index)
                      : values.GetBool(message, &field);
    case pb::FieldDescriptor::CPPTYPE_INT32:
      return repeated ? values.GetRepeatedInt32(message, &field, index)
                      : values.GetInt32(message, &field);
    case pb::FieldDescriptor::CPPTYPE_INT64:
      return repeated ? values.GetRepeatedInt64(message, &field, index)
                      : values.GetInt64(message, &field);
    case pb::FieldDescriptor::CPPTYPE_UINT32:
      return repeated ? values.GetRepeatedUInt32(message, &field, index)
                      : values.GetUInt32(message, &field);
    case pb::FieldDescriptor::CPPTYPE_UINT64:
      return repeated ? values.GetRepeatedUInt64(message, &field, index)
                      : values.GetUInt64(message, &field);
    case pb::FieldDescriptor::CPPTYPE_FLOAT:
      return repeated ? values.GetRepeatedFloat(message, &field, index)
                      : values.GetFloat(message, &field);
    case pb::FieldDescriptor::CPPTYPE_DOUBLE:
      return repeated ? values.GetRepeatedDouble(message, &field, index)
                      : values.GetDouble(message, &field);
    case pb::FieldDescriptor::CPPTYPE_ENUM:
      return (repeated ? values.GetRepeatedEnum(message, &field, index)
                       : values.GetEnum(message, &field))
          ->name();
    default:
      return repeated ? values.GetRepeatedString(message, &field, index)
                      : values.GetString(message, &field);
  }
}

void AddFields(const pb::Message& message, const std::string& prefix, nlohmann::json& fields) {
  const pb::Reflection& values = *message.GetReflection();
  std::vector<const pb::FieldDescriptor*> set;
  values.ListFields(message, &set);
  for (const pb::FieldDescriptor* field : set) {
    if (field->options().GetExtension(proto::rule).may_change()) continue;
    const std::string path = absl::StrCat(prefix, field->name());
    const bool holds_message = field->cpp_type() == pb::FieldDescriptor::CPPTYPE_MESSAGE;
    if (!field->is_repeated()) {
      if (holds_message) {
        AddFields(values.GetMessage(message, field), absl::StrCat(path, "."), fields);
      } else {
        fields[path] = Scalar(message, *field, -1);
      }
      continue;
    }
    for (int i = 0; i < values.FieldSize(message, field); ++i) {
      const std::string element = absl::StrCat(path, "[", i, "]");
      if (holds_message) {
        AddFields(values.GetRepeatedMessage(message, field, i), absl::StrCat(element, "."), fields);
      } else {
        fields[element] = Scalar(message, *field, i);
      }
    }
  }
}

std::string TypeOf(const pb::Any& model) {
  const std::string& url = model.type_url();
  return url.substr(url.rfind('/') + 1);
}

}  // namespace

nlohmann::json ArchitectureOf(const pb::Any& model) {
  nlohmann::json fields = {{kType, TypeOf(model)}};
  const pb::Descriptor* type =
      pb::DescriptorPool::generated_pool()->FindMessageTypeByName(TypeOf(model));
  if (type == nullptr) return fields;
  const std::unique_ptr<pb::Message> message(
      pb::MessageFactory::generated_factory()->GetPrototype(type)->New());
  if (message->ParseFromString(model.value())) AddFields(*message, "model.", fields);
  return fields;
}

std::vector<std::string> Differences(const nlohmann::json& own, const nlohmann::json& stored) {
  std::set<std::string> paths;
  for (const nlohmann::json* fields : {&own, &stored}) {
    for (const auto& [path, value] : fields->items()) paths.insert(path);
  }
  const auto text = [](const nlohmann::json& fields, const std::string& path) {
    return fields.contains(path) ? fields[path].dump() : "not set";
  };
  const bool other_type = text(own, kType) != text(stored, kType);
  std::vector<std::string> lines;
  for (const std::string& path : paths) {
    // Fields of different messages have nothing to do with each other.
    if (other_type && path != kType) continue;
    const std::string here = text(own, path);
    const std::string there = text(stored, path);
    if (here == there) continue;
    lines.push_back(absl::StrCat(path, " is ", here, ", the checkpoint has ", there));
  }
  return lines;
}

std::string ArchitectureId(const nlohmann::json& architecture) {
  const std::string type = architecture[kType].get<std::string>();
  const auto hash = static_cast<uint32_t>(Fnv1a(architecture.dump()) >> 32);
  return absl::StrFormat("%s %08x", type.substr(type.rfind('.') + 1), hash);
}

}  // namespace hetero
