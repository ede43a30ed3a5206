#include "hetero/trainer/feed/open_tokenizer.h"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "hetero/base/status.h"
#include "hetero/data/text/conversation.h"
#include "hetero/data/text/load_tokenizer.h"

namespace hetero {
namespace {

// The token that stands for rows of an encoder is no text.
absl::Status CheckPlaceholder(const data::Tokenizer& tokenizer, std::string_view name,
                              std::string_view token, int64_t placeholder) {
  const std::optional<int32_t> id = tokenizer.Find(token);
  if (id.has_value()) {
    if (*id == placeholder) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrFormat(
        "it has the token %s with the id %d, the model's %s token is %d; give a model whose "
        "%s token is %d",
        token, *id, name, placeholder, name, *id));
  }
  if (placeholder >= tokenizer.vocabulary_size()) return absl::OkStatus();
  const absl::StatusOr<std::string> text =
      tokenizer.Decode(std::array{static_cast<int32_t>(placeholder)});
  if (!text.ok()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat(
      "it has no token %s, and the model's %s token %d is its id of \"%s\"; give a model whose %s "
      "token is at least %d",
      token, name, placeholder, *text, name, tokenizer.vocabulary_size()));
}

absl::Status Check(const data::Tokenizer& tokenizer, const InputContract& contract) {
  if (tokenizer.vocabulary_size() > contract.vocabulary_size) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "it has ids up to %d, the model's vocabulary has %d; give a model with a "
        "vocabulary of at least %d",
        tokenizer.vocabulary_size() - 1, contract.vocabulary_size, tokenizer.vocabulary_size()));
  }
  if (TakesImages(contract)) {
    HETERO_RETURN_IF_ERROR(
        CheckPlaceholder(tokenizer, "image", data::kImageMarker, contract.image_token_id));
  }
  if (TakesClips(contract)) {
    HETERO_RETURN_IF_ERROR(
        CheckPlaceholder(tokenizer, "audio", "<audio>", contract.audio_token_id));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<const data::Tokenizer>> OpenTokenizer(
    const std::filesystem::path& path, const InputContract& contract) {
  absl::StatusOr<std::shared_ptr<const data::Tokenizer>> tokenizer = data::LoadTokenizer(path);
  HETERO_RETURN_IF_ERROR(tokenizer.status()).With("data.tokenizer");
  HETERO_RETURN_IF_ERROR(Check(**tokenizer, contract))
      .With(absl::StrCat("data.tokenizer: ", path.native()));
  return tokenizer;
}

}  // namespace hetero
