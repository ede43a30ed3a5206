#include "hetero/models/testing/module_benchmark.h"

#include <span>
#include <utility>

#include "absl/log/check.h"
#include "hetero/params/table.h"
#include "hetero/tensor/ops/ceiling.h"

namespace hetero {

ModuleBenchmark::ModuleBenchmark(std::vector<ParameterSpec> specs)
    : parameters_(
          ParameterStore::Create(ParameterTable::Make(std::move(specs)).value(), {}, {}, memory_)
              .value()) {
  CHECK_OK(parameters_->Initialize(1, context_->stream));
}

TensorView ModuleBenchmark::Random(int64_t rows, int64_t columns) {
  std::vector<float>& values = inputs_.emplace_back(rows * columns);
  const TensorView view(std::span<float>(values), {rows, columns});
  FillRandom(view, inputs_.size(), 1);
  return view;
}

void ModuleBenchmark::Run(benchmark::State& state,
                          absl::FunctionRef<absl::Status(ModuleContext&)> step) {
  for (auto _ : state) {
    context_.Reset();
    CHECK_OK(step(*context_));
  }
  ReportOperations(state, context_->stream.ledger());
}

}  // namespace hetero
