#include "hetero/base/exceptions.h"

#include <exception>
#include <new>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "hetero/base/out_of_memory.h"

namespace hetero {
namespace {

bool IsWantOfRoom(const std::error_code& error) {
  return error == std::errc::resource_unavailable_try_again ||
         error == std::errc::no_space_on_device || error == std::errc::too_many_files_open;
}

}  // namespace

absl::Status CatchExceptions(absl::FunctionRef<absl::Status()> function) {
  try {
    return function();
  } catch (const std::bad_alloc&) {
    return OutOfMemoryError("out of memory");
  } catch (const std::system_error& error) {
    if (error.code() == std::errc::not_enough_memory) return OutOfMemoryError(error.what());
    if (IsWantOfRoom(error.code())) return absl::ResourceExhaustedError(error.what());
    return absl::InternalError(absl::StrCat("uncaught exception: ", error.what()));
  } catch (const std::exception& exception) {
    return absl::InternalError(absl::StrCat("uncaught exception: ", exception.what()));
  } catch (...) {
    return absl::InternalError("uncaught exception of an unknown type");
  }
}

}  // namespace hetero
