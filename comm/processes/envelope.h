#ifndef HETERO_COMM_PROCESSES_ENVELOPE_H_
#define HETERO_COMM_PROCESSES_ENVELOPE_H_

// What goes before every tensor: what the sender calls, so that two ends that do not mean the same
// find out, with small tensors inside.

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "hetero/comm/collective.h"

namespace hetero::internal {

// Tensors up to this size travel in the envelope.
inline constexpr int64_t kEnvelopeBytes = 4096;

enum class CallKind : uint8_t { kCollective, kMessage };

struct EnvelopeHead {
  CallKind call = CallKind::kCollective;
  CollectiveKind kind = CollectiveKind::kAllReduce;
  ReduceOp op = ReduceOp::kSum;
  DType dtype = DType::kF32;
  uint8_t has_tensor = 0;  // behind the head
  uint8_t name_size = 0;
  int64_t root = 0;
  int64_t num_elements = 0;  // of an all-to-all: of all rows, and not compared
  int64_t row_elements = 0;  // of an all-to-all
  int64_t send_rows = 0;     // of an all-to-all: from the sender to the receiver of the envelope
  int64_t receive_rows = 0;  // and back
  std::array<char, 120> name = {};  // its end, where it is longer

  void SetName(std::string_view text);
  std::string_view name_view() const { return {name.data(), name_size}; }
  // "all_reduce 'x' of 128 f32 (sum)", "a message of 128 f32 in exchange 'x'"
  std::string ToString() const;
};

struct Envelope {
  EnvelopeHead head;
  alignas(64) std::array<std::byte, kEnvelopeBytes> tensor;
};

// Of this member's call; rows and the tensor are left out.
EnvelopeHead HeadOf(const Collective& call);

// Whether `peer` means the same collective as `own`, its rows included.
bool SameCall(const EnvelopeHead& own, const EnvelopeHead& peer);

}  // namespace hetero::internal

#endif  // HETERO_COMM_PROCESSES_ENVELOPE_H_
