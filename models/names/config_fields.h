#ifndef HETERO_MODELS_NAMES_CONFIG_FIELDS_H_
#define HETERO_MODELS_NAMES_CONFIG_FIELDS_H_

// Reads the config.json of a published model so that no field is passed over: each is asked for,
// known not to matter, or a violation, all of them by the file's own names.
//
//   HETERO_ASSIGN_OR_RETURN(const google::protobuf::Struct json, ParseConfigJson(text));
//   Violations violations;
//   ConfigFields fields(json, "text_config.", violations);
//   message.set_hidden_size(fields.Integer("hidden_size"));
//   fields.ExpectFlag("residual_in_fp32", false, "the residual stream has the storage's type");
//   fields.Ignore({"use_cache"});
//   fields.RefuseRest();

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "google/protobuf/struct.pb.h"
#include "hetero/base/violation.h"

namespace hetero {

// JSON, in which numbers may also be Infinity, -Infinity, NaN and {"__float__": "Infinity"}, as
// transformers write them.
// Errors: INVALID_ARGUMENT with what the JSON parser says.
absl::StatusOr<google::protobuf::Struct> ParseConfigJson(std::string_view text);

// Fields that are null count as absent. A violation yields 0, false or an empty text.
class ConfigFields {
 public:
  // `path` goes before the names of fields in violations. All three outlive this.
  ConfigFields(const google::protobuf::Struct& fields, std::string_view path,
               Violations& violations)
      : fields_(fields), path_(path), violations_(violations) {}

  // Whether the file says anything of it.
  bool Has(std::string_view name) const { return Find(name) != nullptr; }

  // Without `otherwise` a field that is absent is a violation.
  int64_t Integer(std::string_view name, std::optional<int64_t> otherwise = std::nullopt);
  double Number(std::string_view name, std::optional<double> otherwise = std::nullopt);
  bool Flag(std::string_view name, std::optional<bool> otherwise = std::nullopt);
  std::string Text(std::string_view name, std::optional<std::string> otherwise = std::nullopt);
  // nullptr where absent.
  const google::protobuf::ListValue* List(std::string_view name);
  const google::protobuf::Struct* Fields(std::string_view name);
  // A list of two numbers; nullopt where absent.
  std::optional<std::pair<double, double>> NumberPair(std::string_view name);

  // A violation when the field is there and has another value; `reason` says what is supported.
  void ExpectNumber(std::string_view name, double value, std::string_view reason);
  void ExpectFlag(std::string_view name, bool value, std::string_view reason);
  void ExpectText(std::string_view name, std::string_view value, std::string_view reason);
  // A violation when the file says anything of it.
  void ExpectNone(std::string_view name, std::string_view reason);

  void Ignore(std::initializer_list<std::string_view> names);
  // What every transformers configuration may have and no weight depends on.
  void IgnoreCommon();

  // A violation for every field that nobody named.
  void RefuseRest();

  void Refuse(std::string_view name, std::string_view text);

 private:
  // nullptr where absent or null.
  const google::protobuf::Value* Find(std::string_view name) const;
  // Also counts the field as named; a violation where it is needed and absent.
  const google::protobuf::Value* Take(std::string_view name, bool needed);

  const google::protobuf::Struct& fields_;
  std::string path_;
  Violations& violations_;
  std::set<std::string, std::less<>> named_;
};

}  // namespace hetero

#endif  // HETERO_MODELS_NAMES_CONFIG_FIELDS_H_
