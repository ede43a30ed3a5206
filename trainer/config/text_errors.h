#ifndef HETERO_TRAINER_CONFIG_TEXT_ERRORS_H_
#define HETERO_TRAINER_CONFIG_TEXT_ERRORS_H_

// What is wrong with the text of a configuration, in words that name what would be right.

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/io/tokenizer.h"

namespace hetero {

// "GridSpec has no field 'tpp'; nearest: 'tp'", or all fields where none is near.
std::string DescribeUnknownField(std::string_view name,
                                 const google::protobuf::Descriptor& message);

// "device is 'GPU', must be one of CPU, CUDA; nearest: CPU"
std::string DescribeUnknownValue(std::string_view field, std::string_view value,
                                 const google::protobuf::EnumDescriptor& type);

// Keeps the first error of parsing `text`, which must outlive it: a RunConfig with packed messages
// or a field of one. Line and column count from 1; reports about unknown fields and words of an
// enum are replaced by the sentences above.
class FirstTextError : public google::protobuf::io::ErrorCollector {
 public:
  explicit FirstTextError(std::string_view text) : text_(text) {}

  void AddError(int line, google::protobuf::io::ColumnNumber column,
                const std::string& message) override;

  // Precondition, here and below: there was an error.
  // INVALID_ARGUMENT "source:line:column: message".
  absl::Status ToStatus(std::string_view source) const;

  const std::string& message() const { return error_->message; }

 private:
  struct Error {
    int line = 0;
    int column = 0;
    std::string message;
  };
  std::string_view text_;
  std::optional<Error> error_;
};

}  // namespace hetero

#endif  // HETERO_TRAINER_CONFIG_TEXT_ERRORS_H_
