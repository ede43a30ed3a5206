#ifndef HETERO_MODELS_TESTING_MODULE_RIG_H_
#define HETERO_MODELS_TESTING_MODULE_RIG_H_

// Compares a module on a device, in the type that it stores, with the same code on the CPU in f64,
// on the same numbers: parameters and inputs are drawn so that the stored type holds them exactly.
//
//   const ModuleCase mlp = {.name = "Mlp", .roundings = 9, .longest_sum = 96, .run = RunMlp};
//   ExpectReference(mlp, gpu, DType::kBF16, DType::kBF16);

#include <cstdint>
#include <deque>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "hetero/models/blocks/context.h"
#include "hetero/models/blocks/weight_gradient_queue.h"
#include "hetero/params/parameter_store.h"
#include "hetero/params/table.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/ops/cuda_testing.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

// What one run of a module works on, and what it leaves. Equal calls draw equal numbers in every
// rig of one `values`. Views live as long as the rig. Failing to allocate or copy aborts.
class ModuleRig {
 public:
  // `values`: the type whose numbers parameters and inputs are; `storage` holds it. Arenas are full
  // of NaN: what is read before it is written is seen.
  ModuleRig(Device device, DType storage, DType values);

  // Moves every number that is placed by up to `share` of itself, up or down. Before the first.
  void Nudge(double share) { nudge_ = share; }

  DType storage() const { return storage_; }
  bool is_reference() const { return storage_ == DType::kF64; }
  Device device() const { return stream_->device(); }
  MemoryLedger& memory() { return memory_; }
  ModuleContext& context() { return *context_; }

  // Matrices are random and halve what they multiply, so that no layer drowns the stream that it
  // adds to; vectors are random around their initial value. A rank's part has the numbers of its
  // shape, whichever part it is.
  ParameterStore& MakeParameters(const ParameterTable& table, const ShardSpec& shard = {});

  // Draws from N(0, 1); `numbers` as they are, rounded to `values`.
  TensorView Normal(int64_t rows, int64_t columns);
  TensorView Matrix(int64_t rows, int64_t columns, std::vector<double> numbers);
  TensorView Zeros(DType dtype, int64_t elements);
  // The elements of a host vector, in its own type.
  TensorView Upload(const ConstTensorView& host);

  std::vector<double> Download(const ConstTensorView& view);

  // What is compared: floating-point tensors in norm, integers exactly.
  void Keep(std::string name, const ConstTensorView& view);
  // Of every trainable parameter, after the step's end. `prefix` goes before the parameters' names.
  absl::Status KeepGradients(ParameterStore& parameters, std::string_view prefix = "");

  // Forwards keep what they must.
  void RecomputeSelectively() { context_->selective_recompute = true; }

  // What is kept now.
  int64_t activation_bytes() const { return activations_.used_bytes(); }

  // Backward passes leave weight gradients for KeepGradients, which finds a poisoned workspace.
  void LeaveWeightGradients() { context_->weight_gradients = &weight_gradients_; }

  struct Kept {
    bool exact = false;
    std::vector<double> values;
  };
  const std::map<std::string, Kept>& kept() const { return kept_; }

 private:
  std::vector<double> Draw(int64_t count, double mean, double stddev);
  TensorView Place(DType dtype, std::span<const int64_t> dims, std::span<const double> numbers);

  // What is drawn or given, as it is placed: rounded to `values`, then nudged.
  std::vector<double> Placed(std::vector<double> numbers);

  DType storage_;
  DType values_;
  double nudge_ = 0;
  std::mt19937_64 nudges_{1};
  MemoryLedger memory_;
  Arena activations_;
  Arena workspace_;
  std::unique_ptr<Stream> stream_;
  std::unique_ptr<ModuleContext> context_;
  std::mt19937 generator_{20240711};
  std::deque<Buffer> buffers_;
  std::deque<std::unique_ptr<ParameterStore>> stores_;
  std::map<std::string, Kept> kept_;
  WeightGradientQueue weight_gradients_;
};

// A module with its backward. Of each tensor that it keeps, with u = epsilon / 2 of the type that
// the module stores:
//   |a - b| <= (4 sqrt(roundings) u + sqrt(longest_sum) 2^-24) |b|   in the Euclidean norm.
// A tensor that is stored on the way to the result is rounded by at most u of itself; the errors
// are independent, so that their squares add. Four is left for what a nonlinear function makes of
// them. Sums are in f32 at least, a term of a sum of n is off by up to sqrt(n) 2^-24.
struct ModuleCase {
  std::string name;
  int roundings = 0;    // intermediates on the longest path through forward and backward
  int longest_sum = 0;  // terms
  std::function<absl::Status(ModuleRig&)> run;
  bool recomputes = true;  // whether selective_recompute has something to leave out
};

// Adds a test failure for every tensor that is too far from the CPU in f64, and records all
// distances, in units of u, as properties of the test.
void ExpectReference(const ModuleCase& module, Device device, DType storage, DType values);

// Adds a test failure unless a backward in two halves leaves bit for bit what one at once does.
void ExpectSameInHalves(const ModuleCase& module, Device device, DType storage);

// Adds a test failure unless a forward with selective_recompute and its backward leave bit for bit
// what others do, at once and in two halves, and without the second keep less activations.
void ExpectSameRecomputed(const ModuleCase& module, Device device, DType storage);

}  // namespace hetero

#endif  // HETERO_MODELS_TESTING_MODULE_RIG_H_
