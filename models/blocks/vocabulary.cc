#include "hetero/models/blocks/vocabulary.h"

#include <string>

#include "hetero/base/status.h"
#include "hetero/params/shard.h"

namespace hetero {
namespace {

constexpr int64_t kTile = 128;  // rows

}  // namespace

ParameterSpec VocabularyMatrix(const VocabularyConfig& config, std::string_view name) {
  return {.name = std::string(name),
          .shape = {config.vocabulary_size, config.hidden_size},
          .storage = config.storage,
          .init = Init::Normal(config.init_std),
          .dims = {{.axis = ShardAxis::kTp, .blocks = {}, .tile = kTile}, {}}};
}

absl::StatusOr<VocabularyRows> FindVocabularyRows(ParameterStore& parameters, std::string_view name,
                                                  const SequenceParallel& sequence) {
  VocabularyRows rows;
  HETERO_ASSIGN_OR_RETURN(rows.parameter, parameters.Find(name));
  const ShardSpec place = {.tp = {.rank = sequence.rank(), .size = sequence.size()}};
  HETERO_ASSIGN_OR_RETURN(const Shard shard, ShardOf(*rows.parameter->spec, place));
  rows.first_row = shard.boxes.front().logical_begin.front();
  return rows;
}

}  // namespace hetero
