#include "hetero/models/names/config_fields.h"

#include <cmath>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "google/protobuf/util/json_util.h"

namespace hetero {
namespace {

using google::protobuf::Value;

// Numbers that JSON has no word for, in quotes; what is in quotes already stays.
std::string WithQuotedNumbers(std::string_view text) {
  std::string result;
  bool quoted = false;
  while (!text.empty()) {
    if (!quoted) {
      bool found = false;
      for (const std::string_view word : {"-Infinity", "Infinity", "NaN"}) {
        if (!absl::ConsumePrefix(&text, word)) continue;
        absl::StrAppend(&result, "\"", word, "\"");
        found = true;
        break;
      }
      if (found) continue;
    }
    if (text.front() == '"') quoted = !quoted;
    if (quoted && text.front() == '\\' && text.size() > 1) {
      result.push_back(text.front());
      text.remove_prefix(1);
    }
    result.push_back(text.front());
    text.remove_prefix(1);
  }
  return result;
}

std::optional<double> NumberOf(const Value& value) {
  if (value.has_number_value()) return value.number_value();
  if (value.has_struct_value()) {
    const auto& fields = value.struct_value().fields();
    const auto found = fields.find("__float__");
    return found == fields.end() ? std::nullopt : NumberOf(found->second);
  }
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (value.string_value() == "Infinity") return kInfinity;
  if (value.string_value() == "-Infinity") return -kInfinity;
  return std::nullopt;
}

std::string Shown(const Value& value) {
  std::string text;
  return google::protobuf::util::MessageToJsonString(value, &text).ok() ? text : "?";
}

}  // namespace

absl::StatusOr<google::protobuf::Struct> ParseConfigJson(std::string_view text) {
  google::protobuf::Struct fields;
  const auto status = google::protobuf::util::JsonStringToMessage(WithQuotedNumbers(text), &fields);
  if (status.ok()) return fields;
  return absl::InvalidArgumentError(
      std::string_view(status.message().data(), status.message().size()));
}

const Value* ConfigFields::Find(std::string_view name) const {
  const auto found = fields_.fields().find(std::string(name));
  if (found == fields_.fields().end() || found->second.has_null_value()) return nullptr;
  return &found->second;
}

const Value* ConfigFields::Take(std::string_view name, bool needed) {
  named_.emplace(name);
  const Value* const value = Find(name);
  if (value == nullptr && needed) Refuse(name, " is not there");
  return value;
}

void ConfigFields::Refuse(std::string_view name, std::string_view text) {
  named_.emplace(name);
  violations_.Add(hetero::Refuse(absl::StrCat(path_, name), text));
}

double ConfigFields::Number(std::string_view name, std::optional<double> otherwise) {
  const Value* const value = Take(name, !otherwise.has_value());
  if (value == nullptr) return otherwise.value_or(0);
  const std::optional<double> number = NumberOf(*value);
  if (!number.has_value()) Refuse(name, absl::StrCat(" is ", Shown(*value), ", must be a number"));
  return number.value_or(0);
}

int64_t ConfigFields::Integer(std::string_view name, std::optional<int64_t> otherwise) {
  std::optional<double> default_number;
  if (otherwise.has_value()) default_number = static_cast<double>(*otherwise);
  const double number = Number(name, default_number);
  constexpr double kLargest = 1LL << 53;
  if (number == std::floor(number) && std::abs(number) <= kLargest) {
    return static_cast<int64_t>(number);
  }
  Refuse(name, absl::StrCat(" is ", number, ", must be a whole number"));
  return 0;
}

bool ConfigFields::Flag(std::string_view name, std::optional<bool> otherwise) {
  const Value* const value = Take(name, !otherwise.has_value());
  if (value == nullptr) return otherwise.value_or(false);
  if (!value->has_bool_value()) {
    Refuse(name, absl::StrCat(" is ", Shown(*value), ", must be true or false"));
  }
  return value->bool_value();
}

std::string ConfigFields::Text(std::string_view name, std::optional<std::string> otherwise) {
  const Value* const value = Take(name, !otherwise.has_value());
  if (value == nullptr) return otherwise.value_or("");
  if (!value->has_string_value()) {
    Refuse(name, absl::StrCat(" is ", Shown(*value), ", must be a text"));
  }
  return value->string_value();
}

const google::protobuf::ListValue* ConfigFields::List(std::string_view name) {
  const Value* const value = Take(name, /*needed=*/false);
  if (value == nullptr) return nullptr;
  if (value->has_list_value()) return &value->list_value();
  Refuse(name, absl::StrCat(" is ", Shown(*value), ", must be a list"));
  return nullptr;
}

const google::protobuf::Struct* ConfigFields::Fields(std::string_view name) {
  const Value* const value = Take(name, /*needed=*/false);
  if (value == nullptr) return nullptr;
  if (value->has_struct_value()) return &value->struct_value();
  Refuse(name, absl::StrCat(" is ", Shown(*value), ", must have fields"));
  return nullptr;
}

std::optional<std::pair<double, double>> ConfigFields::NumberPair(std::string_view name) {
  const Value* const value = Take(name, /*needed=*/false);
  if (value == nullptr) return std::nullopt;
  if (value->list_value().values_size() == 2) {
    const std::optional<double> first = NumberOf(value->list_value().values(0));
    const std::optional<double> second = NumberOf(value->list_value().values(1));
    if (first.has_value() && second.has_value()) return std::pair(*first, *second);
  }
  Refuse(name, absl::StrCat(" is ", Shown(*value), ", must be a list of two numbers"));
  return std::nullopt;
}

void ConfigFields::ExpectNumber(std::string_view name, double value, std::string_view reason) {
  const Value* const found = Take(name, /*needed=*/false);
  if (found == nullptr || NumberOf(*found) == value) return;
  Refuse(name, absl::StrCat(" is ", Shown(*found), ", must be ", value, ": ", reason));
}

void ConfigFields::ExpectFlag(std::string_view name, bool value, std::string_view reason) {
  const Value* const found = Take(name, /*needed=*/false);
  if (found == nullptr || (found->has_bool_value() && found->bool_value() == value)) return;
  Refuse(name,
         absl::StrCat(" is ", Shown(*found), ", must be ", value ? "true" : "false", ": ", reason));
}

void ConfigFields::ExpectText(std::string_view name, std::string_view value,
                              std::string_view reason) {
  const Value* const found = Take(name, /*needed=*/false);
  if (found == nullptr || (found->has_string_value() && found->string_value() == value)) return;
  Refuse(name, absl::StrCat(" is ", Shown(*found), ", must be \"", value, "\": ", reason));
}

void ConfigFields::ExpectNone(std::string_view name, std::string_view reason) {
  const Value* const found = Take(name, /*needed=*/false);
  if (found != nullptr) Refuse(name, absl::StrCat(" is ", Shown(*found), ": ", reason));
}

void ConfigFields::Ignore(std::initializer_list<std::string_view> names) {
  named_.insert(names.begin(), names.end());
}

void ConfigFields::IgnoreCommon() {
  Ignore({"_commit_hash",
          "_name_or_path",
          "architectures",
          "auto_map",
          "bos_token_id",
          "chunk_size_feed_forward",
          "dtype",
          "eos_token_id",
          "id2label",
          "is_encoder_decoder",
          "label2id",
          "max_position_embeddings",
          "output_attentions",
          "output_hidden_states",
          "pad_token_id",
          "problem_type",
          "return_dict",
          "torch_dtype",
          "transformers_version",
          "use_cache"});
  ExpectNone("quantization_config", "weights are not quantized");
}

void ConfigFields::RefuseRest() {
  std::set<std::string> rest;  // sorted
  for (const auto& [name, value] : fields_.fields()) {
    if (!named_.contains(name) && !value.has_null_value()) rest.insert(name);
  }
  for (const std::string& name : rest) {
    Refuse(name, absl::StrCat(" is ", Shown(fields_.fields().at(name)),
                              ": not known, so what it changes is not either"));
  }
}

}  // namespace hetero
