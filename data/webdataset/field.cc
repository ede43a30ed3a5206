#include "hetero/data/webdataset/field.h"

#include <string>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace hetero::data {

absl::StatusOr<const RawSample::Part*> SelectPart(const RawSample& sample, std::string_view field) {
  for (std::string_view rest = field; !rest.empty();) {
    const size_t comma = rest.find(',');
    if (const RawSample::Part* part = sample.Find(rest.substr(0, comma)); part != nullptr) {
      return part;
    }
    rest.remove_prefix(comma == std::string_view::npos ? rest.size() : comma + 1);
  }
  const std::string present = absl::StrJoin(
      sample.parts, ", ",
      [](std::string* out, const RawSample::Part& part) { out->append(part.extension); });
  return absl::DataLossError(
      absl::StrFormat("sample %s has no member \"%s\"; it has %s", sample.Name(), field, present));
}

}  // namespace hetero::data
