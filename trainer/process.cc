#include "hetero/trainer/process.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <exception>
#include <memory>
#include <new>
#include <string_view>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/base/system_error.h"
#include "hetero/trainer/exit_code.h"

namespace hetero {

namespace {

// Below what malloc maps by itself: once free, they serve small requests of every thread.
constexpr size_t kBlockBytes = size_t{64} << 10;
constexpr size_t kNumBlocks = 32;
struct Block {
  std::unique_ptr<Block> next;
  char bytes[kBlockBytes] = {};
};
std::atomic<Block*> reserve = nullptr;

void FreeReserve() {
  std::unique_ptr<Block> block(reserve.exchange(nullptr));
  while (block != nullptr) block = std::move(block->next);
  throw std::bad_alloc();
}

std::terminate_handler previous_terminate = nullptr;

[[noreturn]] void EndForWantOfRoom() {
  constexpr std::string_view kMessage =
      "error: out of memory, or of room for threads (ulimit -v, ulimit -u)\n";
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, kMessage.data(), kMessage.size());
  _exit(static_cast<int>(ExitCode::kOutOfResources));
}

// Takes no memory.
[[noreturn]] void Terminate() {
  if (const std::exception_ptr exception = std::current_exception()) {
    try {
      std::rethrow_exception(exception);
    } catch (const std::bad_alloc&) {
      EndForWantOfRoom();
    } catch (const std::system_error& error) {
      if (error.code() == std::errc::resource_unavailable_try_again) EndForWantOfRoom();
    } catch (...) {
    }
  }
  previous_terminate();
  std::abort();
}

void PrepareForWantOfMemory() {
  std::unique_ptr<Block> blocks;
  for (size_t i = 0; i < kNumBlocks; ++i) {
    auto block = std::make_unique<Block>();
    block->next = std::move(blocks);
    blocks = std::move(block);
  }
  reserve = blocks.release();
  std::set_new_handler(FreeReserve);
  previous_terminate = std::set_terminate(Terminate);
}

}  // namespace

absl::Status PrepareProcess() {
  PrepareForWantOfMemory();
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(descriptor, F_GETFD) != -1) continue;
    // The lowest free number is this one. Opened the wrong way round, it works as if closed.
    const int mode = descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY;
    if (open("/dev/null", mode) != descriptor) return SystemError(errno, "cannot open /dev/null");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::filesystem::path> WorkingFolder() {
  const char* typed = std::getenv("BUILD_WORKING_DIRECTORY");
  if (typed != nullptr) return std::filesystem::path(typed);
  std::error_code error;
  std::filesystem::path folder = std::filesystem::current_path(error);
  if (error) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the folder that the program was started in is gone: ", error.message(),
                     "; change to one that exists and start again"));
  }
  return folder;
}

}  // namespace hetero
