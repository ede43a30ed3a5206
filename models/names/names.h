#ifndef HETERO_MODELS_NAMES_NAMES_H_
#define HETERO_MODELS_NAMES_NAMES_H_

// What models write their name maps with: how a parameter lies in files that others read.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "hetero/params/box_map.h"
#include "hetero/params/parameter_spec.h"

namespace hetero {

enum class NameScheme : uint8_t {
  kMegatron,       // of Megatron-LM's sharded checkpoints, of its models of several modules
  kMegatronLlava,  // likewise, of its vision-language models of one module
  kHuggingFace,    // of published safetensors
};

inline bool IsMegatron(NameScheme scheme) { return scheme != NameScheme::kHuggingFace; }

// All of the parameter, under another name.
BoxMap WholeTensor(const ParameterSpec& spec, std::string key);

// The parameter is entry `entry` of a tensor with one more dim, of `count` entries, before its own.
BoxMap StackedTensor(const ParameterSpec& spec, std::string key, int64_t entry, int64_t count);

// Rows (entries of dim 0) [own_begin, own_begin + rows) of the parameter are those at `key_begin`
// of a tensor of `key_rows` rows.
BoxMap MovedRows(const ParameterSpec& spec, int64_t own_begin, int64_t rows, std::string key,
                 int64_t key_rows, int64_t key_begin);

// Rows that follow each other, each part a tensor of its own. Precondition: the parts are all rows.
struct RowPart {
  std::string_view suffix;  // of the key
  int64_t rows = 0;
};
std::vector<BoxMap> DividedRows(const ParameterSpec& spec, std::string_view key,
                                std::span<const RowPart> parts);

// Every entry of dim 0 is a tensor of its own, without that dim: `key_of(entry)`.
template <typename KeyOf>
std::vector<BoxMap> DividedEntries(const ParameterSpec& spec, const KeyOf& key_of) {
  std::vector<BoxMap> maps;
  for (int64_t entry = 0; entry < spec.shape[0]; ++entry) {
    BoxMap map = WholeTensor(spec, key_of(entry));
    map.own.offset[0] = entry;
    map.own.size[0] = 1;
    map.key_shape.erase(map.key_shape.begin());
    map.stored.offset.erase(map.stored.offset.begin());
    map.stored.size.erase(map.stored.size.begin());
    maps.push_back(std::move(map));
  }
  return maps;
}

// "decoder.layers.12.mixer.D": layer 12 and "mixer.D"; nullopt outside of layers.
struct LayerName {
  int64_t layer = 0;
  std::string_view rest;
};
std::optional<LayerName> ParseLayerName(std::string_view name);

// One name for another, or for the beginnings of names where both end with a dot.
struct Renaming {
  std::string_view own;
  std::string_view other;
};

// The other name by the first rule that fits; nullopt without one.
std::optional<std::string> Rename(std::string_view name, std::span<const Renaming> rules);

// INTERNAL: a parameter that its model has no other name for.
absl::Status NoOtherName(const ParameterSpec& spec, NameScheme scheme);

}  // namespace hetero

#endif  // HETERO_MODELS_NAMES_NAMES_H_
