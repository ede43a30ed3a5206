#include "hetero/tools/bench/run_start_file.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/base/violation.h"
#include "hetero/ckpt/format/element_type.h"
#include "hetero/ckpt/safetensors/header.h"
#include "hetero/ckpt/safetensors/index.h"
#include "hetero/ckpt/safetensors/writer.h"
#include "hetero/ckpt/storage/posix_storage.h"
#include "hetero/grid/layout.h"
#include "hetero/models/registry.h"
#include "hetero/params/parameter_store.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/dtype.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/stream.h"
#include "hetero/trainer/config/config.h"
#include "hetero/trainer/config/optimizer_settings.h"
#include "hetero/trainer/feed/samples.h"

namespace hetero {
namespace {

// What is written when all of it is known.
class TensorFile {
 public:
  template <typename T>
  void Add(const std::string& name, const std::vector<int64_t>& shape, std::span<const T> values) {
    tensors_.push_back({.name = name, .type = ElementTypeOf(kDTypeOf<T>), .shape = shape});
    const auto bytes = std::as_bytes(values);
    values_.emplace_back(bytes.begin(), bytes.end());
  }

  absl::Status Write(const std::filesystem::path& path) const {
    PosixStorage storage;
    HETERO_ASSIGN_OR_RETURN(SafetensorsPlan plan, PlanSafetensorsFile(path.filename(), tensors_));
    HETERO_ASSIGN_OR_RETURN(
        const std::unique_ptr<SafetensorsWriter> writer,
        SafetensorsWriter::Create(storage, path.parent_path(), std::move(plan)));
    for (size_t i = 0; i < tensors_.size(); ++i) {
      HETERO_RETURN_IF_ERROR(writer->Write(tensors_[i].name, 0, values_[i]));
    }
    return writer->Close();
  }

 private:
  std::vector<SafetensorsTensor> tensors_;
  std::vector<std::vector<std::byte>> values_;
};

absl::Status AddParameters(const Model& model, const std::string& module, uint64_t seed,
                           TensorFile& file) {
  MemoryLedger ledger;
  Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<Stream> stream,
                          Stream::Create(Device{}, workspace));
  HETERO_ASSIGN_OR_RETURN(const ParameterTable table, model.MakeTable(module, ShardSpec{}));
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<ParameterStore> store,
                          ParameterStore::Create(table, ShardSpec{}, Device{}, ledger));
  HETERO_RETURN_IF_ERROR(store->Initialize(seed, *stream));
  for (const std::unique_ptr<Parameter>& parameter : store->parameters()) {
    file.Add<float>(absl::StrCat(module, "/", parameter->spec->name), parameter->spec->shape,
                    parameter->value.values<float>());
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status WriteRunStart(const proto::RunConfig& config,
                           const std::filesystem::path& working_folder,
                           const std::filesystem::path& path, const data::LongWork& work) {
  const ModelRegistry models = BuiltInModels();
  HETERO_RETURN_IF_ERROR(ViolationsError(Validate(config, models)));
  const proto::RunConfig resolved = Resolve(config);
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                          models.Make(resolved.model(), DType::kF32));
  TensorFile file;
  for (const std::string& module : model->graph().ModuleNames()) {
    HETERO_RETURN_IF_ERROR(AddParameters(*model, module, resolved.seed(), file)).With(module);
  }

  const int64_t num_steps = SizesOf(resolved).train_steps;
  if (resolved.has_batch_size_schedule()) {
    return absl::InvalidArgumentError(
        "batch_size_schedule is set; the start of a run is told of steps of one size, "
        "global_batch_size");
  }
  const int64_t batch = resolved.global_batch_size();
  HETERO_ASSIGN_OR_RETURN(const OptimizerSettings settings, MakeOptimizerSettings(resolved));
  std::vector<double> rates;
  for (int64_t step = 0; step < num_steps; ++step) {
    rates.push_back(settings.schedule.At(step * batch));
  }
  file.Add<double>("learning_rates", {num_steps}, rates);

  HETERO_ASSIGN_OR_RETURN(const Layout layout,
                          Layout::Make(GridSpecs(resolved), SizesOf(resolved).world_size));
  HETERO_ASSIGN_OR_RETURN(
      const RunSamples samples,
      PrepareSamples(resolved, ContractOf(model->graph()),
                     layout.Find(model->graph().SampleOwner().name)->num_lanes(), working_folder,
                     work));
  std::vector<int64_t> positions;
  for (int64_t i = 0; i < num_steps * batch; ++i) {
    positions.push_back(samples.train.order.DatasetIndex(i).value());
  }
  file.Add<int64_t>("samples", {num_steps, batch}, positions);
  return file.Write(path);
}

}  // namespace hetero
