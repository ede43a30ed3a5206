#include "hetero/data/text/hugging_face_tokenizer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"
#include "hetero/base/status.h"
#include "hetero/data/text/normalizer.h"
#include "hetero/data/text/tokenizer_json.h"
#include "hetero/data/text/utf8.h"

namespace hetero::data {

absl::StatusOr<std::unique_ptr<HuggingFaceTokenizer>> HuggingFaceTokenizer::Create(
    std::string_view json) {
  HETERO_ASSIGN_OR_RETURN(TokenizerJson file, ParseTokenizerJson(json));

  ByteVocabulary vocabulary;
  for (const TokenizerJson::Token& token : file.vocabulary) {
    if (token.is_bytes) vocabulary.emplace(token.bytes, token.id);
  }
  absl::StatusOr<BytePair> byte_pair =
      BytePair::Create(std::move(vocabulary), file.merges, file.ignores_merges);
  HETERO_RETURN_IF_ERROR(byte_pair.status()).With("model");

  // With the texts that they are found in.
  std::vector<AddedToken> as_written, normalized;
  for (AddedToken token : file.added_tokens) {
    std::string storage;
    if (token.normalized && file.normalizes) {
      token.content = std::string(ToNfc(token.content, storage));
    }
    (token.normalized ? normalized : as_written).push_back(std::move(token));
  }
  HETERO_ASSIGN_OR_RETURN(AddedTokenFinder as_written_finder, AddedTokenFinder::Create(as_written));
  HETERO_ASSIGN_OR_RETURN(AddedTokenFinder normalized_finder, AddedTokenFinder::Create(normalized));

  std::unique_ptr<HuggingFaceTokenizer> tokenizer(
      new HuggingFaceTokenizer({.byte_pair = *std::move(byte_pair),
                                .pre_tokenizer = PreTokenizer(std::move(file.stages)),
                                .as_written = std::move(as_written_finder),
                                .normalized = std::move(normalized_finder)}));
  tokenizer->normalizes_ = file.normalizes;
  tokenizer->adds_prefix_space_ = file.adds_prefix_space;
  for (TokenizerJson::Token& token : file.vocabulary) {
    tokenizer->ids_.emplace(std::move(token.name), token.id);
    tokenizer->bytes_.emplace(token.id, std::move(token.bytes));
  }
  for (AddedToken& token : file.added_tokens) {
    tokenizer->ids_.emplace(std::move(token.content), token.id);
  }
  for (std::vector<AddedToken>* tokens : {&as_written, &normalized}) {
    for (AddedToken& token : *tokens) {
      tokenizer->bytes_.insert_or_assign(token.id, std::move(token.content));
    }
  }
  for (const auto& [id, bytes] : tokenizer->bytes_) {
    tokenizer->vocabulary_size_ = std::max<int64_t>(tokenizer->vocabulary_size_, id + 1);
  }
  return tokenizer;
}

absl::Status HuggingFaceTokenizer::Append(std::string_view text, std::vector<int32_t>& ids) const {
  const size_t size = ids.size();
  std::string storage;
  const absl::Status status = AppendUtf8(ToUtf8(text, storage), ids);
  if (!status.ok()) ids.resize(size);
  return status;
}

absl::Status HuggingFaceTokenizer::AppendUtf8(std::string_view text,
                                              std::vector<int32_t>& ids) const {
  PreTokenizer::Scratch scratch;
  std::string storage;
  const auto add = [&](int32_t id) { ids.push_back(id); };
  const auto add_words = [&](std::string_view piece) {
    return parts_.pre_tokenizer.Run(
        piece, scratch, [&](std::string_view word) { parts_.byte_pair.Append(word, ids); });
  };
  const auto normalize = [&](std::string_view piece) {
    return parts_.normalized.Run(normalizes_ ? ToNfc(piece, storage) : piece, scratch.regex,
                                 add_words, add);
  };
  return parts_.as_written.Run(text, scratch.regex, normalize, add);
}

absl::StatusOr<std::string> HuggingFaceTokenizer::Decode(std::span<const int32_t> ids) const {
  std::string text;
  for (size_t i = 0; i < ids.size(); ++i) {
    const auto found = bytes_.find(ids[i]);
    if (found == bytes_.end()) {
      return absl::InvalidArgumentError(
          absl::StrFormat("id %d at position %d is no token; the vocabulary has 0 to %d", ids[i], i,
                          vocabulary_size_ - 1));
    }
    text.append(found->second);
  }
  return text;
}

std::optional<int32_t> HuggingFaceTokenizer::Find(std::string_view token) const {
  const auto found = ids_.find(token);
  return found == ids_.end() ? std::nullopt : std::optional(found->second);
}

TokenBounds HuggingFaceTokenizer::NumTokens(int64_t num_bytes) const {
  // A byte that is no UTF-8 becomes three; normalization makes at most three of one (UAX 15); a
  // token is a byte at least, and a space comes at most before each of them.
  return {0, num_bytes * 3 * (adds_prefix_space_ ? 2 : 1)};
}

}  // namespace hetero::data
