#ifndef HETERO_CKPT_TESTING_SMALL_MODEL_H_
#define HETERO_CKPT_TESTING_SMALL_MODEL_H_

// The state of a tiny language model and a tiny encoder on some ranks, with every rule by which
// parameters are divided: split and interleaved rows, replicated groups, a vocabulary that does not
// divide, experts, stacked layers, moments in flat ranges. Without values.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "hetero/ckpt/checkpoint_tensor.h"

namespace hetero {

// One branch on ranks [first, first + tp * dp * pp).
struct BranchLayout {
  int64_t first = 0;
  int64_t tp = 1;
  int64_t dp = 1;
  int64_t pp = 1;
  int64_t ep = 1;
  int64_t expt_tp = 1;

  int64_t num_ranks() const { return tp * dp * pp; }
};

struct ModelLayout {
  BranchLayout language;
  BranchLayout encoder;

  int64_t num_ranks() const;
  std::string ToString() const;
};

// Any of those that fit on `num_ranks` ranks: branches apart or on the same ranks.
std::vector<ModelLayout> LayoutsOf(int64_t num_ranks);

enum class SmallModelSize {
  kFull,
  // Two layers, a frozen encoder, moments of matrices only: a checkpoint below 128 KiB.
  kTiny,
};

// What a rank has; owns the memory.
class SmallModel {
 public:
  SmallModel(const ModelLayout& layout, int64_t rank, SmallModelSize size = SmallModelSize::kFull);
  ~SmallModel();
  SmallModel(SmallModel&&) noexcept;

  CheckpointState& state() { return state_; }

 private:
  struct Memory;

  std::unique_ptr<Memory> memory_;
  CheckpointState state_;
};

}  // namespace hetero

#endif  // HETERO_CKPT_TESTING_SMALL_MODEL_H_
