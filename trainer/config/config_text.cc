#include "hetero/trainer/config/config_text.h"

#include "absl/log/check.h"
#include "google/protobuf/text_format.h"
#include "hetero/trainer/config/text_errors.h"

namespace hetero {

absl::StatusOr<proto::RunConfig> ParseRunConfig(std::string_view text, std::string_view source) {
  proto::RunConfig config;
  google::protobuf::TextFormat::Parser parser;
  FirstTextError error(text);
  parser.RecordErrorsTo(&error);
  if (!parser.ParseFromString(std::string(text), &config)) return error.ToStatus(source);
  return config;
}

std::string ToText(const proto::RunConfig& config) {
  google::protobuf::TextFormat::Printer printer;
  printer.SetExpandAny(true);
  printer.SetUseShortRepeatedPrimitives(true);
  std::string text;
  CHECK(printer.PrintToString(config, &text));
  return text;
}

}  // namespace hetero
