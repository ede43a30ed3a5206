#ifndef HETERO_MODELS_BLOCKS_VOCABULARY_H_
#define HETERO_MODELS_BLOCKS_VOCABULARY_H_

// The two matrices with a row for every token of the vocabulary, embedding and output layer, whose
// rows tensor-parallel ranks divide.

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"
#include "hetero/models/blocks/sequence_parallel.h"
#include "hetero/params/parameter_spec.h"
#include "hetero/params/parameter_store.h"

namespace hetero {

struct VocabularyConfig {
  int64_t vocabulary_size = 0;
  int64_t hidden_size = 0;
  double init_std = 0.02;
  DType storage = DType::kF32;
};

// Its row of the table. Ranks hold whole tiles of rows, but for what the vocabulary lacks at its
// end: the last ranks may have fewer rows than the others, or none.
ParameterSpec VocabularyMatrix(const VocabularyConfig& config, std::string_view name);

// Such a matrix as a rank has it: rows [first_row, first_row + V) of the vocabulary.
struct VocabularyRows {
  Parameter* parameter = nullptr;  // [V, H]
  int64_t first_row = 0;

  int64_t vocabulary_size() const { return parameter->spec->shape[0]; }
};

// `sequence`: of the ranks that divide the rows. Errors: NOT_FOUND outside the store.
absl::StatusOr<VocabularyRows> FindVocabularyRows(ParameterStore& parameters, std::string_view name,
                                                  const SequenceParallel& sequence);

}  // namespace hetero

#endif  // HETERO_MODELS_BLOCKS_VOCABULARY_H_
