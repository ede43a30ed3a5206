#ifndef HETERO_TRAINER_FIELD_RULES_H_
#define HETERO_TRAINER_FIELD_RULES_H_

// Checks any configuration message against the rules stated beside its fields
// (base/config/field_rule.proto).

#include <string>
#include <string_view>
#include <vector>

#include "google/protobuf/message.h"
#include "hetero/grid/module_grid.h"

namespace hetero {

// Every field of `message`, of the messages in it and of packed messages that is required and not
// set, or set beyond its bounds, in declaration order. `path` is put before the field names; fields
// of a grid are named after its module.
std::vector<Violation> CheckFieldRules(const google::protobuf::Message& message,
                                       std::string_view path);

}  // namespace hetero

#endif  // HETERO_TRAINER_FIELD_RULES_H_
