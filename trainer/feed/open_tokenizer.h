#ifndef HETERO_TRAINER_FEED_OPEN_TOKENIZER_H_
#define HETERO_TRAINER_FEED_OPEN_TOKENIZER_H_

#include <filesystem>
#include <memory>

#include "absl/status/statusor.h"
#include "hetero/data/text/tokenizer.h"
#include "hetero/trainer/feed/input_contract.h"

namespace hetero {

// The tokenizer of data.tokenizer, whose ids the model has rows for, and whose image token is the
// model's.
// Errors: those of data::LoadTokenizer, and INVALID_ARGUMENT, all naming the field.
absl::StatusOr<std::shared_ptr<const data::Tokenizer>> OpenTokenizer(
    const std::filesystem::path& path, const InputContract& contract);

}  // namespace hetero

#endif  // HETERO_TRAINER_FEED_OPEN_TOKENIZER_H_
