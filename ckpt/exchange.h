#ifndef HETERO_CKPT_EXCHANGE_H_
#define HETERO_CKPT_EXCHANGE_H_

// Bytes of host memory between the ranks that save and load together.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/comm/communicator.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/stream.h"

namespace hetero {

// Members are numbered as in the communicator. All of them call the same in the same order, each on
// the thread that owns its communicator. Works with every backend.
// Errors of all: those of the communicator.
class Exchange {
 public:
  // Of one rank alone.
  Exchange() : Exchange(nullptr) {}
  // `communicator` outlives the exchange; null: alone.
  explicit Exchange(Communicator* communicator);
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  int64_t rank() const { return communicator_ == nullptr ? 0 : communicator_->rank().value(); }
  int64_t size() const { return communicator_ == nullptr ? 1 : communicator_->size(); }

  // What every member gave, by member. `name` is the call's name in traces and time-outs.
  absl::StatusOr<std::vector<std::string>> AllGather(std::string_view mine, std::string_view name);

  // What `root` gave; of others `mine` is not read.
  absl::StatusOr<std::string> Broadcast(std::string_view mine, int64_t root, std::string_view name);

  struct Send {
    int64_t to = 0;
    std::span<const std::byte> bytes;
  };
  struct Receive {
    int64_t from = 0;
    std::span<std::byte> bytes;
  };
  // Messages of two members match in order; both know the size. Alone: precondition no message.
  absl::Status Transfer(std::span<const Send> sends, std::span<const Receive> receives,
                        std::string_view name);

  // OK when every member gave OK, else on all of them the same: the first failure by member with
  // its number, and how many more there are.
  absl::Status Agree(const absl::Status& mine, std::string_view name);

 private:
  Communicator* communicator_;
  Arena no_workspace_;
  Stream stream_;
};

}  // namespace hetero

#endif  // HETERO_CKPT_EXCHANGE_H_
