#include "hetero/comm/rendezvous/frame.h"

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace hetero::internal {
namespace {

void AppendInteger(std::string& bytes, uint64_t value, int size) {
  for (int i = 0; i < size; ++i) bytes.push_back(static_cast<char>(value >> (8 * i)));
}

// Takes `size` bytes from the front of `bytes`; false when there are fewer.
bool TakeInteger(std::string_view& bytes, int size, uint64_t& value) {
  if (bytes.size() < static_cast<size_t>(size)) return false;
  value = 0;
  for (int i = 0; i < size; ++i) {
    value |= uint64_t{static_cast<unsigned char>(bytes[static_cast<size_t>(i)])} << (8 * i);
  }
  bytes.remove_prefix(static_cast<size_t>(size));
  return true;
}

absl::Status Malformed(std::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("no message of a rendezvous: ", what, "; is something else using its port?"));
}

}  // namespace

std::string Encode(const Frame& frame) {
  std::string body(1, static_cast<char>(frame.kind));
  AppendInteger(body, static_cast<uint64_t>(frame.number), 8);
  for (const std::string& text : frame.texts) {
    AppendInteger(body, text.size(), 4);
    body += text;
  }
  std::string bytes;
  AppendInteger(bytes, body.size(), 4);
  return bytes + body;
}

absl::StatusOr<std::optional<Frame>> FrameParser::Next() {
  std::string_view rest = std::string_view(bytes_).substr(done_);
  uint64_t size = 0;
  if (!TakeInteger(rest, 4, size)) return std::nullopt;
  if (size > kMaxBytes) return Malformed(absl::StrCat(size, " bytes"));
  if (rest.size() < size) return std::nullopt;
  std::string_view body = rest.substr(0, size);
  done_ += 4 + size;

  Frame frame;
  uint64_t kind = 0;
  uint64_t number = 0;
  if (!TakeInteger(body, 1, kind) || kind > static_cast<uint64_t>(FrameKind::kLost) ||
      !TakeInteger(body, 8, number)) {
    return Malformed(absl::StrCat("kind ", kind));
  }
  frame.kind = static_cast<FrameKind>(kind);
  frame.number = static_cast<int64_t>(number);
  while (!body.empty()) {
    uint64_t length = 0;
    if (!TakeInteger(body, 4, length) || body.size() < length) return Malformed("a text is cut");
    frame.texts.emplace_back(body.substr(0, length));
    body.remove_prefix(length);
  }
  if (done_ == bytes_.size()) {
    bytes_.clear();
    done_ = 0;
  }
  return frame;
}

std::vector<std::string> EncodeStatus(const absl::Status& status) {
  std::vector<std::string> texts = {absl::StrCat(status.raw_code()), std::string(status.message())};
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& value) {
    texts.emplace_back(url);
    texts.emplace_back(value);
  });
  return texts;
}

absl::Status DecodeStatus(const std::vector<std::string>& texts) {
  int code = 0;
  if (texts.size() < 2 || texts.size() % 2 != 0 || !absl::SimpleAtoi(texts[0], &code) ||
      code == 0) {
    return absl::InternalError("a rank told of a failure that cannot be read");
  }
  absl::Status status(static_cast<absl::StatusCode>(code), texts[1]);
  for (size_t i = 2; i < texts.size(); i += 2)
    status.SetPayload(texts[i], absl::Cord(texts[i + 1]));
  return status;
}

}  // namespace hetero::internal
