// Any bytes as a tokenizer.json, and behind a zero byte a text for it: what is read encodes any
// text or names the expression that cannot, and its ids stand for something.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/data/text/hugging_face_tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hetero::data;  // NOLINT: the function lives outside the namespace
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const size_t end = bytes.find('\0');
  const std::string_view text =
      end == std::string_view::npos ? bytes.substr(bytes.size() / 2) : bytes.substr(end + 1);
  const absl::StatusOr<std::unique_ptr<HuggingFaceTokenizer>> tokenizer =
      HuggingFaceTokenizer::Create(bytes.substr(0, end));
  if (!tokenizer.ok()) return 0;
  std::vector<int32_t> ids;
  if (!(*tokenizer)->Append(text, ids).ok()) return 0;
  CHECK_LE(static_cast<int64_t>(ids.size()),
           (*tokenizer)->NumTokens(static_cast<int64_t>(text.size())).most);
  CHECK_OK((*tokenizer)->Decode(ids).status());
  return 0;
}
