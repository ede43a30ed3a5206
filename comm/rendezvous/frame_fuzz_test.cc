#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "hetero/comm/rendezvous/activity.h"
#include "hetero/comm/rendezvous/frame.h"

// Whatever comes over a connection, whole or in parts.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using hetero::internal::FrameParser;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  FrameParser whole;
  whole.Append(bytes);
  FrameParser parts;
  for (size_t begin = 0; begin < size; begin += 7) {
    parts.Append(bytes.substr(begin, 7));
  }
  while (true) {
    const auto frame = whole.Next();
    const auto same = parts.Next();
    if (frame.ok() != same.ok() || (frame.ok() && *frame != *same)) __builtin_trap();
    if (!frame.ok() || !frame->has_value()) return 0;
    hetero::internal::DecodeStatus((*frame)->texts).IgnoreError();
    for (const std::string& text : (*frame)->texts) hetero::DecodeActivity(text).IgnoreError();
  }
}
