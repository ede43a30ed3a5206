#include "hetero/models/names/names.h"

#include <utility>

#include "absl/log/check.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace hetero {

BoxMap WholeTensor(const ParameterSpec& spec, std::string key) {
  const Box all{std::vector<int64_t>(spec.shape.size()), spec.shape};
  return {spec.name, all, std::move(key), spec.shape, all};
}

BoxMap StackedTensor(const ParameterSpec& spec, std::string key, int64_t entry, int64_t count) {
  BoxMap map = WholeTensor(spec, std::move(key));
  map.key_shape.insert(map.key_shape.begin(), count);
  map.stored.offset.insert(map.stored.offset.begin(), entry);
  map.stored.size.insert(map.stored.size.begin(), 1);
  return map;
}

BoxMap MovedRows(const ParameterSpec& spec, int64_t own_begin, int64_t rows, std::string key,
                 int64_t key_rows, int64_t key_begin) {
  BoxMap map = WholeTensor(spec, std::move(key));
  map.own.offset[0] = own_begin;
  map.own.size[0] = rows;
  map.key_shape[0] = key_rows;
  map.stored.offset[0] = key_begin;
  map.stored.size[0] = rows;
  return map;
}

std::vector<BoxMap> DividedRows(const ParameterSpec& spec, std::string_view key,
                                std::span<const RowPart> parts) {
  std::vector<BoxMap> maps;
  int64_t begin = 0;
  for (const RowPart& part : parts) {
    maps.push_back(MovedRows(spec, begin, part.rows, absl::StrCat(key, part.suffix), part.rows, 0));
    begin += part.rows;
  }
  CHECK_EQ(begin, spec.shape[0]) << spec.name;
  return maps;
}

std::optional<LayerName> ParseLayerName(std::string_view name) {
  if (!absl::ConsumePrefix(&name, "decoder.layers.")) return std::nullopt;
  const size_t dot = name.find('.');
  LayerName result;
  if (dot == name.npos || !absl::SimpleAtoi(name.substr(0, dot), &result.layer)) {
    return std::nullopt;
  }
  result.rest = name.substr(dot + 1);
  return result;
}

std::optional<std::string> Rename(std::string_view name, std::span<const Renaming> rules) {
  for (const Renaming& rule : rules) {
    if (name == rule.own) return std::string(rule.other);
    std::string_view rest = name;
    if (rule.own.ends_with('.') && absl::ConsumePrefix(&rest, rule.own)) {
      return absl::StrCat(rule.other, rest);
    }
  }
  return std::nullopt;
}

absl::Status NoOtherName(const ParameterSpec& spec, NameScheme scheme) {
  return absl::InternalError(absl::StrCat("the parameter ", spec.name, " has no name in ",
                                          IsMegatron(scheme) ? "Megatron-LM's" : "Hugging Face's",
                                          " checkpoints"));
}

}  // namespace hetero
