#ifndef HETERO_TELEMETRY_EVENT_FILE_READER_H_
#define HETERO_TELEMETRY_EVENT_FILE_READER_H_

// Decodes event files in tests, without the writer's code.

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/telemetry/event/event.pb.h"

namespace hetero {

// The events of a whole file. Errors: DATA_LOSS naming the offset of a truncated record, a wrong
// checksum or a payload that is no event.
absl::StatusOr<std::vector<TensorBoardEvent>> DecodeEvents(std::string_view bytes);

// The same for the only event file of `directory`. Errors: NOT_FOUND unless there is exactly one.
absl::StatusOr<std::vector<TensorBoardEvent>> ReadEventsIn(const std::string& directory);

}  // namespace hetero

#endif  // HETERO_TELEMETRY_EVENT_FILE_READER_H_
