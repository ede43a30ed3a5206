#include "hetero/data/webdataset/field.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "hetero/base/status.h"
#include "nlohmann/json.hpp"

namespace hetero::data {
namespace {

using Json = nlohmann::json;

// A member and, where `chain` is not empty, a place in it: "[turns][0]".
struct Selected {
  const RawSample::Part* part;
  std::string_view chain;
};

absl::StatusOr<Selected> Select(const RawSample& sample, std::string_view field) {
  for (std::string_view rest = field; !rest.empty();) {
    const size_t comma = rest.find(',');
    const std::string_view alternative = rest.substr(0, comma);
    const size_t bracket = std::min(alternative.find('['), alternative.size());
    if (const RawSample::Part* part = sample.Find(alternative.substr(0, bracket));
        part != nullptr) {
      return Selected{.part = part, .chain = alternative.substr(bracket)};
    }
    rest.remove_prefix(comma == std::string_view::npos ? rest.size() : comma + 1);
  }
  const std::string present = absl::StrJoin(
      sample.parts, ", ",
      [](std::string* out, const RawSample::Part& part) { out->append(part.extension); });
  return absl::DataLossError(
      absl::StrFormat("sample %s has no member \"%s\"; it has %s", sample.Name(), field, present));
}

// The element of `json` that "key]" or "0]" names, nullptr where it has none.
const Json* Element(const Json& json, std::string_view name) {
  if (json.is_object()) {
    const auto found = json.find(name);
    return found == json.end() ? nullptr : &*found;
  }
  uint64_t index = 0;
  if (!json.is_array() || !absl::SimpleAtoi(name, &index) || index >= json.size()) return nullptr;
  return &json[index];
}

absl::StatusOr<std::string> TextAt(const Json& root, std::string_view chain) {
  const Json* at = &root;
  for (std::string_view rest = chain; !rest.empty();) {
    const size_t close = rest.find(']');
    if (rest.front() != '[' || close == std::string_view::npos) {
      return absl::DataLossError(absl::StrCat("\"", chain, "\" is no chain of [names]"));
    }
    at = Element(*at, rest.substr(1, close - 1));
    if (at == nullptr) return absl::DataLossError(absl::StrCat("has nothing at ", chain));
    rest.remove_prefix(close + 1);
  }
  if (at->is_array() && !at->empty()) at = &at->front();
  if (!at->is_string()) return absl::DataLossError(absl::StrCat("has no text at ", chain));
  return at->get<std::string>();
}

}  // namespace

absl::StatusOr<const RawSample::Part*> SelectPart(const RawSample& sample, std::string_view field) {
  HETERO_ASSIGN_OR_RETURN(const Selected selected, Select(sample, field));
  return selected.part;
}

absl::StatusOr<std::string> ReadText(const RawSample& sample, std::string_view field) {
  HETERO_ASSIGN_OR_RETURN(const Selected selected, Select(sample, field));
  const RawSample::Part& part = *selected.part;
  if (selected.chain.empty()) return std::string(part.bytes);
  const Json json = Json::parse(part.bytes, nullptr, /*allow_exceptions=*/false);
  absl::StatusOr<std::string> text =
      json.is_discarded() ? absl::DataLossError("is not valid JSON") : TextAt(json, selected.chain);
  if (text.ok()) return text;
  return absl::DataLossError(
      absl::StrCat("member ", sample.key, ".", part.extension, " ", text.status().message()));
}

}  // namespace hetero::data
