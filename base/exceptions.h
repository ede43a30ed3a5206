#ifndef HETERO_BASE_EXCEPTIONS_H_
#define HETERO_BASE_EXCEPTIONS_H_

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"

namespace hetero {

// What `function` returns or, as a status, what it throws: RESOURCE_EXHAUSTED when memory was asked
// for and refused (an OutOfMemoryError for std::bad_alloc) or the system refused a thread or a file
// for want of room, INTERNAL with "uncaught exception" and its text for the rest. Stands where a
// library is entered.
absl::Status CatchExceptions(absl::FunctionRef<absl::Status()> function);

}  // namespace hetero

#endif  // HETERO_BASE_EXCEPTIONS_H_
