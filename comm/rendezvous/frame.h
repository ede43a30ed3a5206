#ifndef HETERO_COMM_RENDEZVOUS_FRAME_H_
#define HETERO_COMM_RENDEZVOUS_FRAME_H_

// What a rendezvous and its ranks say to each other over a connection: frames of a kind, a number
// and texts, each behind its length. All integers are little-endian.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace hetero::internal {

enum class FrameKind : uint8_t {
  kHello,     // number: rank; texts: size of the world as this rank knows it
  kWelcome,   //
  kPut,       // texts: key, value
  kGet,       // number: of the question; texts: key
  kValue,     // number: of the question; texts: value
  kActivity,  // text: that of EncodeActivity
  kBeat,      // the rendezvous lives
  kAbort,     // texts: those of EncodeStatus
  kLeave,     // this rank is done
  kLost,      // number: a rank whose process its launcher saw end; may come without a hello
};

// A question after this key is answered by the rendezvous itself, with the time of its machine in
// nanoseconds since 1970.
inline constexpr std::string_view kClockKey = "time";

struct Frame {
  FrameKind kind = FrameKind::kBeat;
  int64_t number = 0;
  std::vector<std::string> texts = {};

  bool operator==(const Frame&) const = default;
};

std::string Encode(const Frame& frame);

// Takes the bytes of a connection as they come and gives the frames in them.
class FrameParser {
 public:
  // No frame of ours is longer; a stranger's bytes ask for no memory.
  static constexpr size_t kMaxBytes = size_t{64} << 20;

  void Append(std::string_view bytes) { bytes_.append(bytes); }

  // Nothing when the next one is not whole yet. Errors: INVALID_ARGUMENT, after which there is no
  // next one.
  absl::StatusOr<std::optional<Frame>> Next();

 private:
  std::string bytes_;
  size_t done_ = 0;
};

// Code, message and payloads. A text that is no status decodes to INTERNAL.
std::vector<std::string> EncodeStatus(const absl::Status& status);
absl::Status DecodeStatus(const std::vector<std::string>& texts);

}  // namespace hetero::internal

#endif  // HETERO_COMM_RENDEZVOUS_FRAME_H_
