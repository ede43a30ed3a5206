#ifndef HETERO_DATA_TEXT_CONVERSATION_H_
#define HETERO_DATA_TEXT_CONVERSATION_H_

// Texts and conversations as a model is trained on them: the prompt format "nemotron6-moe", which
// is ChatML, with tags around images.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/data/text/tokenizer.h"

namespace hetero::data {

// Stands for an image where text is written.
inline constexpr std::string_view kImageMarker = "<image>";

enum class ImageTag {
  kNone,
  kNvlm,      // <Image><image></Image>
  kInternVl,  // <img><image></img>
};

struct Turn {
  std::string role;     // system, user or assistant
  std::string content;  // of a system turn alone it may be empty
};

// Errors: INVALID_ARGUMENT for what no conversation may have: another role, no content but of the
// system, an image marker of an assistant.
absl::Status CheckTurn(const Turn& turn);

// One label an id: the id itself where it is trained on, else kIgnoredLabel. They are not shifted.
struct EncodedText {
  std::vector<int32_t> ids;
  std::vector<int32_t> labels;
};

struct PromptOptions {
  ImageTag image_tag = ImageTag::kNone;
  // Every conversation begins with an empty system turn, in place of its own.
  bool force_empty_system = false;
  // Reasoning of assistants has one form: "<think>\n...\n</think>\n" before the answer, and
  // "<think></think>" before one without.
  bool think_mode = false;
};

// Does not change once it is made; any number of threads use it.
class Prompt {
 public:
  // Errors: INVALID_ARGUMENT naming a token of the format that the tokenizer has not.
  static absl::StatusOr<Prompt> Create(std::shared_ptr<const Tokenizer> tokenizer,
                                       const PromptOptions& options);

  // Ids of the markers and of what fills a row up.
  int32_t image_id() const { return image_id_; }
  int32_t pad_id() const { return pad_id_; }

  // All of a text is trained on. Errors: those of the tokenizer.
  absl::StatusOr<EncodedText> EncodeText(std::string_view text) const;

  // What assistants say is trained on, with the end of their turns: "<|im_start|>", role, newline,
  // content, "<|im_end|>" and newline are a turn, without anything around all.
  // Errors: INVALID_ARGUMENT naming the turn: an unknown role, an empty turn, an image marker of an
  // assistant, reasoning without exactly one pair of tags, or ids that are others alone than in the
  // conversation; those of the tokenizer.
  absl::StatusOr<EncodedText> EncodeConversation(std::vector<Turn> turns) const;

 private:
  Prompt(std::shared_ptr<const Tokenizer> tokenizer, const PromptOptions& options)
      : tokenizer_(std::move(tokenizer)), options_(options) {}

  // As the model reads it, whatever the turn's place.
  absl::StatusOr<Turn> Prepared(Turn turn) const;
  std::string WithImageTags(std::string_view text) const;
  absl::StatusOr<EncodedText> EncodeTurn(const Turn& turn) const;

  std::shared_ptr<const Tokenizer> tokenizer_;
  PromptOptions options_;
  int32_t image_id_ = 0;
  int32_t pad_id_ = 0;
  std::vector<int32_t> assistant_prefix_;
};

}  // namespace hetero::data

#endif  // HETERO_DATA_TEXT_CONVERSATION_H_
