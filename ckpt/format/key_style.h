#ifndef HETERO_CKPT_FORMAT_KEY_STYLE_H_
#define HETERO_CKPT_FORMAT_KEY_STYLE_H_

// Megatron saves multimodal models through two wrappers, whose names get into the keys:
// "language_model.module.module.decoder.final_norm.weight" for what we call
// "language_model.decoder.final_norm.weight".

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace hetero {

enum class KeyStyle {
  kMcore,      // with "module.module.", as Megatron asks for
  kCanonical,  // without
};

// "mcore" or "canonical", as manifests and SaveOptions have it.
absl::StatusOr<KeyStyle> KeyStyleNamed(std::string_view name);
std::string_view Name(KeyStyle style);

// The key without any part "module" between two dots or before the first.
std::string CanonicalKey(std::string_view key);

// A canonical key as `style` has it: with "module.module." behind "language_model." or
// "modality_submodules.NAME.", be it a weight's or an optimizer's key. Others stay as they are.
std::string StyledKey(std::string_view canonical_key, KeyStyle style);

}  // namespace hetero

#endif  // HETERO_CKPT_FORMAT_KEY_STYLE_H_
