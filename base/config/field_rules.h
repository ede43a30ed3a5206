#ifndef HETERO_BASE_CONFIG_FIELD_RULES_H_
#define HETERO_BASE_CONFIG_FIELD_RULES_H_

// Checks any configuration message against the rules stated beside its fields
// (field_rule.proto), and knows the values of its enums.

#include <string>
#include <string_view>
#include <vector>

#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "hetero/base/violation.h"

namespace hetero {

// Every field of `message` and of the messages in it, in declaration order, that is required and
// not set, or set to what it may not be: a number beyond its bounds, a number that is none, an enum
// value that does not exist, an empty text. What is packed into an Any is for whoever knows its
// type. `path` is put before the field names; an element of a list that has a name is called by it.
// `on_gpu`: bounds of a GPU's kernels hold too.
std::vector<Violation> CheckFieldRules(const google::protobuf::Message& message,
                                       std::string_view path, bool on_gpu = false);

// Names of the values that a field may have: all but the one that means unset.
std::vector<std::string_view> LegalNames(const google::protobuf::EnumDescriptor& descriptor);

}  // namespace hetero

#endif  // HETERO_BASE_CONFIG_FIELD_RULES_H_
