#ifndef HETERO_MODELS_TESTING_MODULE_BENCHMARK_H_
#define HETERO_MODELS_TESTING_MODULE_BENCHMARK_H_

// What benchmarks of modules share: parameters, inputs and a context on the CPU in f32, and the
// loop.
//
//   void BM_MlpBlockStep(benchmark::State& state) {
//     ModuleBenchmark module(MlpBlock::Parameters(config, "l."));
//     module.RunBlock(state, MlpBlock::Create(config, "l.", module.parameters(), nullptr).value(),
//                     config.hidden_size);
//   }

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "benchmark/benchmark.h"
#include "hetero/base/status.h"
#include "hetero/models/testing/gradient_check.h"
#include "hetero/params/parameter_store.h"
#include "hetero/tensor/sequence_batch.h"

namespace hetero {

class ModuleBenchmark {
 public:
  // The parameters of one module, initialised.
  explicit ModuleBenchmark(std::vector<ParameterSpec> specs);

  ParameterStore& parameters() { return *parameters_; }

  // Standard normal values, which live as long as this.
  TensorView Random(int64_t rows, int64_t columns);

  // Calls `step` once an iteration, the activation arena empty, and reports its operations.
  void Run(benchmark::State& state, absl::FunctionRef<absl::Status(ModuleContext&)> step);

  // A step is forward and backward of a block of the residual stream, on 8 rows of 48 tokens; its
  // output serves as the output's gradient.
  template <typename Block>
  void RunBlock(benchmark::State& state, const Block& block, int64_t hidden_size) {
    const SequenceBatch batch = {.num_rows = 8, .row_length = 48};
    const TensorView hidden = Random(batch.num_tokens(), hidden_size);
    typename Block::Saved saved;
    Run(state, [&](ModuleContext& context) -> absl::Status {
      HETERO_ASSIGN_OR_RETURN(const TensorView out, block.Forward(context, hidden, batch, saved));
      return block.Backward(context, saved, out);
    });
  }

 private:
  MemoryLedger memory_;
  std::unique_ptr<ParameterStore> parameters_;
  std::deque<std::vector<float>> inputs_;
  TestContext context_;
};

}  // namespace hetero

#endif  // HETERO_MODELS_TESTING_MODULE_BENCHMARK_H_
