#include "hetero/data/text/conversation.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <ranges>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "hetero/base/status.h"
#include "hetero/data/batch.h"
#include "hetero/data/text/white_space.h"

namespace hetero::data {
namespace {

constexpr std::string_view kTurnStart = "<|im_start|>";
constexpr std::string_view kTurnEnd = "<|im_end|>";
constexpr std::string_view kPad = "<unk>";
constexpr std::string_view kThink = "<think>";
constexpr std::string_view kThinkEnd = "</think>";

constexpr std::string_view kSystem = "system";
constexpr std::string_view kAssistant = "assistant";
constexpr std::array<std::string_view, 3> kRoles = {kSystem, "user", kAssistant};

absl::Status Wrong(std::string_view what) { return absl::InvalidArgumentError(what); }

std::string_view Stripped(std::string_view text) {
  return WithoutTrailingSpace(WithoutLeadingSpace(text));
}

std::string Rendered(const Turn& turn) {
  return absl::StrCat(kTurnStart, turn.role, "\n", turn.content, kTurnEnd, "\n");
}

// What an assistant says, its reasoning in the one form.
absl::StatusOr<std::string> WithReasoning(std::string_view content) {
  const size_t begin = content.find(kThink), end = content.find(kThinkEnd);
  const bool has_begin = begin != std::string_view::npos, has_end = end != std::string_view::npos;
  if (!has_begin && !has_end) return absl::StrCat(kThink, kThinkEnd, Stripped(content));
  if (!has_begin || !has_end || end < begin || content.rfind(kThink) != begin ||
      content.rfind(kThinkEnd) != end) {
    return Wrong("has other than one pair of <think> and </think>");
  }
  const std::string_view before = content.substr(0, begin);
  const size_t thought = begin + kThink.size();
  const std::string_view reasoning = Stripped(content.substr(thought, end - thought));
  const std::string_view answer = WithoutLeadingSpace(content.substr(end + kThinkEnd.size()));
  const std::string_view line = reasoning.empty() ? "" : "\n";
  return absl::StrCat(before, kThink, line, reasoning, line, kThinkEnd, "\n", answer);
}

}  // namespace

absl::Status CheckTurn(const Turn& turn) {
  if (std::ranges::find(kRoles, turn.role) == kRoles.end()) {
    return Wrong(
        absl::StrCat("has the role \"", turn.role, "\", must be system, user or assistant"));
  }
  if (turn.content.empty() && turn.role != kSystem) return Wrong("is empty");
  if (turn.role == kAssistant && turn.content.find(kImageMarker) != std::string::npos) {
    return Wrong("has an <image>, which an assistant must not");
  }
  return absl::OkStatus();
}

absl::StatusOr<Prompt> Prompt::Create(std::shared_ptr<const Tokenizer> tokenizer,
                                      const PromptOptions& options) {
  Prompt prompt(std::move(tokenizer), options);
  for (const std::string_view token : {kTurnStart, kTurnEnd, kPad, kImageMarker}) {
    if (prompt.tokenizer_->Find(token).has_value()) continue;
    return Wrong(absl::StrCat("the tokenizer has no token ", token,
                              ", which the prompt format nemotron6-moe needs"));
  }
  prompt.image_id_ = *prompt.tokenizer_->Find(kImageMarker);
  prompt.pad_id_ = *prompt.tokenizer_->Find(kPad);
  HETERO_ASSIGN_OR_RETURN(prompt.assistant_prefix_,
                          Encode(*prompt.tokenizer_, absl::StrCat(kTurnStart, kAssistant, "\n")));
  return prompt;
}

std::string Prompt::WithImageTags(std::string_view text) const {
  switch (options_.image_tag) {
    case ImageTag::kNone:
      break;
    case ImageTag::kNvlm:
      return absl::StrReplaceAll(text, {{kImageMarker, "<Image><image></Image>"}});
    case ImageTag::kInternVl:
      return absl::StrReplaceAll(text, {{kImageMarker, "<img><image></img>"}});
  }
  return std::string(text);
}

absl::StatusOr<Turn> Prompt::Prepared(Turn turn) const {
  HETERO_RETURN_IF_ERROR(CheckTurn(turn));
  if (turn.role == kAssistant && options_.think_mode) {
    HETERO_ASSIGN_OR_RETURN(turn.content, WithReasoning(turn.content));
  }
  turn.content = WithImageTags(turn.content);
  return turn;
}

absl::StatusOr<EncodedText> Prompt::EncodeText(std::string_view text) const {
  EncodedText encoded;
  HETERO_ASSIGN_OR_RETURN(encoded.ids, Encode(*tokenizer_, WithImageTags(text)));
  encoded.labels = encoded.ids;
  return encoded;
}

absl::StatusOr<EncodedText> Prompt::EncodeTurn(const Turn& turn) const {
  EncodedText encoded;
  HETERO_ASSIGN_OR_RETURN(encoded.ids, Encode(*tokenizer_, Rendered(turn)));
  encoded.labels.assign(encoded.ids.size(), kIgnoredLabel);
  if (turn.role != kAssistant) return encoded;
  const auto prefix = static_cast<int64_t>(assistant_prefix_.size());
  if (!std::ranges::equal(encoded.ids | std::views::take(prefix), assistant_prefix_)) {
    return Wrong("does not begin with the ids of its role alone");
  }
  std::copy(encoded.ids.begin() + prefix, encoded.ids.end(), encoded.labels.begin() + prefix);
  return encoded;
}

absl::StatusOr<EncodedText> Prompt::EncodeConversation(std::vector<Turn> turns) const {
  if (options_.force_empty_system) {
    if (!turns.empty() && turns[0].role == kSystem) turns.erase(turns.begin());
    turns.insert(turns.begin(), Turn{.role = std::string(kSystem), .content = ""});
  }
  EncodedText encoded;
  std::string text;
  std::vector<size_t> ends;
  for (size_t i = 0; i < turns.size(); ++i) {
    const std::string place = absl::StrFormat("turn %d", i);
    absl::StatusOr<Turn> turn = Prepared(std::move(turns[i]));
    HETERO_RETURN_IF_ERROR(turn.status()).With(place);
    absl::StatusOr<EncodedText> alone = EncodeTurn(*turn);
    HETERO_RETURN_IF_ERROR(alone.status()).With(place);
    text.append(Rendered(*turn));
    encoded.ids.insert(encoded.ids.end(), alone->ids.begin(), alone->ids.end());
    encoded.labels.insert(encoded.labels.end(), alone->labels.begin(), alone->labels.end());
    ends.push_back(encoded.ids.size());
  }
  HETERO_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, Encode(*tokenizer_, text));
  if (ids == encoded.ids) return encoded;
  // Labels would stand at the wrong places.
  const auto differs =
      static_cast<size_t>(std::ranges::mismatch(ids, encoded.ids).in1 - ids.begin());
  return Wrong(absl::StrFormat("turn %d has other ids alone than in the conversation",
                               std::ranges::upper_bound(ends, differs) - ends.begin()));
}

}  // namespace hetero::data
