#ifndef HETERO_TRAINER_CONFIG_FIELD_COMMENTS_H_
#define HETERO_TRAINER_CONFIG_FIELD_COMMENTS_H_

// The comments of the configuration's proto files, which the program carries.

#include <string>

#include "google/protobuf/descriptor.h"

namespace hetero {

// What stands above a field, or behind it, and above a message; lines end as they do there. Empty:
// nothing, or the file is none of a configuration's.
std::string CommentOf(const google::protobuf::FieldDescriptor& field);
std::string CommentOf(const google::protobuf::Descriptor& message);

}  // namespace hetero

#endif  // HETERO_TRAINER_CONFIG_FIELD_COMMENTS_H_
