#ifndef HETERO_BASE_STATUS_H_
#define HETERO_BASE_STATUS_H_

// Control flow over absl::Status.
//
//   HETERO_RETURN_IF_ERROR(spec.Validate()).With("encoder grid");
//   HETERO_ASSIGN_OR_RETURN(Layout layout, Layout::Tile(specs, world_size));
//
// `With(text)` puts "text: " before the message and keeps code and payloads; it is evaluated only
// on failure.

#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace hetero {

// Returns `status` with "context: " before its message; OK stays OK.
absl::Status Annotate(const absl::Status& status, std::string_view context);

namespace internal {

class StatusReturn {
 public:
  explicit StatusReturn(absl::Status status) : status_(std::move(status)) {}

  bool ok() const { return status_.ok(); }

  StatusReturn&& With(std::string_view context) && {
    status_ = Annotate(status_, context);
    return std::move(*this);
  }

  operator absl::Status() && { return std::move(status_); }  // NOLINT: the point of the class

  template <typename T>
  operator absl::StatusOr<T>() && {  // NOLINT: the point of the class
    return std::move(status_);
  }

 private:
  absl::Status status_;
};

inline absl::Status ToStatus(absl::Status status) { return status; }

template <typename T>
absl::Status ToStatus(const absl::StatusOr<T>& status_or) {
  return status_or.status();
}

}  // namespace internal
}  // namespace hetero

#define HETERO_RETURN_IF_ERROR(expression)                   \
  if (::hetero::internal::StatusReturn hetero_status_return( \
          ::hetero::internal::ToStatus(expression));         \
      hetero_status_return.ok()) {                           \
  } else /* NOLINT */                                        \
    return static_cast<::hetero::internal::StatusReturn&&>(hetero_status_return)

#define HETERO_STATUS_CONCAT_INNER(a, b) a##b
#define HETERO_STATUS_CONCAT(a, b) HETERO_STATUS_CONCAT_INNER(a, b)

#define HETERO_ASSIGN_OR_RETURN(declaration, expression)                                       \
  HETERO_ASSIGN_OR_RETURN_IMPL(HETERO_STATUS_CONCAT(hetero_status_or_, __LINE__), declaration, \
                               expression)

#define HETERO_ASSIGN_OR_RETURN_IMPL(temporary, declaration, expression)                       \
  auto temporary = (expression);                                                               \
  if (!temporary.ok()) return ::hetero::internal::StatusReturn(std::move(temporary).status()); \
  declaration = std::move(temporary).value()

#endif  // HETERO_BASE_STATUS_H_
