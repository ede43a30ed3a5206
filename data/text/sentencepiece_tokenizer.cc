#include "hetero/data/text/sentencepiece_tokenizer.h"

#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "hetero/base/status.h"
#include "sentencepiece_processor.h"

namespace hetero::data {
namespace {

absl::Status ToStatus(const sentencepiece::util::Status& status) {
  if (status.ok()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("SentencePiece: ", status.message()));
}

}  // namespace

SentencePieceTokenizer::SentencePieceTokenizer(
    std::unique_ptr<sentencepiece::SentencePieceProcessor> processor)
    : processor_(std::move(processor)) {}

SentencePieceTokenizer::~SentencePieceTokenizer() = default;

absl::StatusOr<std::unique_ptr<SentencePieceTokenizer>> SentencePieceTokenizer::Create(
    std::string_view model) {
  auto processor = std::make_unique<sentencepiece::SentencePieceProcessor>();
  HETERO_RETURN_IF_ERROR(ToStatus(processor->LoadFromSerializedProto(model)))
      .With("no SentencePiece model");
  return std::unique_ptr<SentencePieceTokenizer>(new SentencePieceTokenizer(std::move(processor)));
}

int64_t SentencePieceTokenizer::vocabulary_size() const { return processor_->GetPieceSize(); }

absl::Status SentencePieceTokenizer::Append(std::string_view text,
                                            std::vector<int32_t>& ids) const {
  std::vector<int> pieces;
  HETERO_RETURN_IF_ERROR(ToStatus(processor_->Encode(text, &pieces)));
  ids.insert(ids.end(), pieces.begin(), pieces.end());
  return absl::OkStatus();
}

absl::StatusOr<std::string> SentencePieceTokenizer::Decode(std::span<const int32_t> ids) const {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && ids[i] < vocabulary_size()) continue;
    return absl::InvalidArgumentError(
        absl::StrFormat("id %d at position %d is no token; the vocabulary has 0 to %d", ids[i], i,
                        vocabulary_size() - 1));
  }
  std::string text;
  HETERO_RETURN_IF_ERROR(
      ToStatus(processor_->Decode(std::vector<int>(ids.begin(), ids.end()), &text)));
  return text;
}

std::optional<int32_t> SentencePieceTokenizer::Find(std::string_view token) const {
  const int id = processor_->PieceToId(token);
  if (processor_->IdToPiece(id) != token) return std::nullopt;
  return id;
}

TokenBounds SentencePieceTokenizer::NumTokens(int64_t num_bytes) const {
  return {0, num_bytes == 0 ? 0 : std::numeric_limits<int64_t>::max()};
}

}  // namespace hetero::data
