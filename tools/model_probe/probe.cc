#include "hetero/tools/model_probe/probe.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <memory>
#include <set>
#include <string_view>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/checkpoint_tensor.h"
#include "hetero/ckpt/exchange.h"
#include "hetero/ckpt/load.h"
#include "hetero/ckpt/plan/name_map.h"
#include "hetero/ckpt/safetensors/reader.h"
#include "hetero/ckpt/weights/export.h"
#include "hetero/comm/loopback/loopback.h"
#include "hetero/comm/run_ranks.h"
#include "hetero/grid/module_grid.h"
#include "hetero/models/blocks/context.h"
#include "hetero/models/radio/published_config.h"
#include "hetero/optim/bucket_traffic.h"
#include "hetero/params/state_tensor.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/side_stream.h"
#include "hetero/tensor/stream.h"
#include "hetero/tools/model_probe/inputs.h"
#include "hetero/tools/model_probe/probed_module.h"
#include "hetero/tools/model_probe/published_model.h"
#include "hetero/trainer/step/communicators.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

using Inputs = std::variant<TokenInputs, ImageInputs>;

absl::StatusOr<Inputs> ReadInputs(Storage& storage, const fs::path& path,
                                  const PublishedModel& model) {
  if (const auto* encoder = std::get_if<proto::RadioEncoder>(&model)) {
    return ReadImageInputs(storage, path, encoder->hidden_size(), encoder->patch_size());
  }
  return ReadTokenInputs(storage, path);
}

absl::StatusOr<std::unique_ptr<ProbedModule>> MakeModule(const PublishedModel& model,
                                                         const Inputs& inputs,
                                                         const ModulePlace& place) {
  if (const auto* encoder = std::get_if<proto::RadioEncoder>(&model)) {
    return MakeRadioProbe(*encoder, std::get<ImageInputs>(inputs), place);
  }
  return MakeLanguageProbe(std::get<proto::HybridLanguageModel>(model),
                           std::get<TokenInputs>(inputs), place);
}

absl::StatusOr<Grid> MakeGrid(const ProbeOptions& options) {
  if (options.ep < 1 || options.tp < 1 || options.tp % options.ep != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("ep is ", options.ep, ", must divide tp ", options.tp));
  }
  // All ranks have the same tokens and other parts of every expert.
  return Grid::Make({.name = "probe",
                     .num_ranks = options.tp,
                     .tp = options.tp,
                     .ep = options.ep,
                     .expt_tp = options.tp / options.ep});
}

// What is the same for all ranks.
struct Job {
  Storage& storage;
  const ProbeOptions& options;
  const PublishedModel& model;
  const Inputs& inputs;
  const Grid& grid;
  std::vector<std::string> unused;  // patterns
  const SafetensorsReader& files;   // the model's
};

struct Sizes {
  int64_t activation_bytes = 0;
  int64_t workspace_bytes = 0;
};

absl::Status ForwardAndBackward(ProbedModule& module, Arena& activations, Stream& stream,
                                const ProbeOptions& options) {
  ModuleContext context{.stream = stream, .activations = activations};
  HETERO_RETURN_IF_ERROR(module.Forward(context));
  return options.gradients ? module.Backward(context) : absl::OkStatus();
}

// By running the rank without numbers.
absl::StatusOr<Sizes> PredictSizes(const Job& job, GlobalRank rank) {
  const std::unique_ptr<CommunicatorFactory> factory = LoopbackFactory(rank, job.options.tp);
  MemoryLedger ledger;
  Arena activations = Arena::Counting(MemoryLabel::kActivations);
  Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
  const Device device{.kind = DeviceKind::kShapeOnly, .predicts = DeviceKind::kCpu};
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<Stream> stream, Stream::Create(device, workspace));
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<ProbedModule> module,
                          MakeModule(job.model, job.inputs,
                                     {.grid = job.grid,
                                      .rank = rank,
                                      .factory = *factory,
                                      .device = device,
                                      .storage = job.options.dtype,
                                      .ledger = ledger}));
  HETERO_RETURN_IF_ERROR(ForwardAndBackward(*module, activations, *stream, job.options));
  return Sizes{.activation_bytes = activations.peak_bytes(),
               .workspace_bytes = workspace.peak_bytes()};
}

// Adds up what the ranks have parts of.
absl::Status SumGradients(const ProbedModule& module, const Job& job, GlobalRank rank,
                          CommunicatorFactory& factory, Stream& stream, MemoryLedger& ledger) {
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<SideStream> side, SideStream::Create(stream));
  for (size_t s = 0; s < module.stores().size(); ++s) {
    ParameterStore& parameters = *module.stores()[s];
    const std::string stage = absl::StrCat(job.grid.name(), ".", s);
    HETERO_ASSIGN_OR_RETURN(const GradientCommunicators communicators,
                            MakeGradientCommunicators(stage, job.grid, parameters, rank, factory));
    HETERO_ASSIGN_OR_RETURN(
        const std::unique_ptr<BucketTraffic> traffic,
        BucketTraffic::Create(stage, parameters, communicators.groups,
                              {.overlap_gradient_reduce = false, .overlap_parameter_gather = false},
                              *side, stream.device(), ledger));
    HETERO_RETURN_IF_ERROR(traffic->Reduce());
  }
  return stream.Synchronize();
}

enum class Part : uint8_t { kWeight, kGradient };

// Of every parameter that has it and is one of the files.
std::vector<StateTensor> StatesOf(const ProbedModule& module, Part part) {
  std::vector<StateTensor> states;
  for (const auto& store : module.stores()) {
    std::vector<StateTensor> of_store = store->States(/*dense_replica=*/0, /*expert_replica=*/0);
    for (size_t i = 0; i < of_store.size(); ++i) {
      const Parameter& parameter = *store->parameters()[i];
      if (part == Part::kGradient) of_store[i].local = parameter.gradient;
      if (of_store[i].local.is_null() || module.IsTwin(*parameter.spec)) continue;
      states.push_back(std::move(of_store[i]));
    }
  }
  return states;
}

void Append(std::vector<CheckpointTensor> more, std::vector<CheckpointTensor>& tensors) {
  std::ranges::move(more, std::back_inserter(tensors));
}

constexpr std::string_view kGradientPrefix = "gradient.";

// Names as the model computes them, one a line; the same on all ranks.
std::string OrderOf(const ProbedModule& module) {
  std::vector<std::string> order;
  for (const std::vector<CheckpointTensor>* tensors : {&module.layers(), &module.outputs()}) {
    for (const CheckpointTensor& tensor : *tensors) order.push_back(tensor.key);
  }
  std::set<std::string_view> seen;
  for (const BoxMap& map : module.names()) {
    if (seen.insert(map.key).second) order.push_back(absl::StrCat(kGradientPrefix, map.key));
  }
  return absl::StrJoin(order, "\n");
}

absl::StatusOr<LoadReport> ImportWeights(const Job& job, std::vector<CheckpointTensor> weights,
                                         Exchange& exchange, Stream& stream, MemoryLedger& ledger) {
  CheckpointState state{.tensors = std::move(weights)};
  return Load(job.storage, job.options.model.native(), state, exchange,
              {.refuse_unused = true,
               .may_be_unused = job.unused,
               .cast = job.options.cast,
               .foreign = true},
              stream, ledger);
}

absl::Status ExportModel(const Job& job, const LoadReport& imported,
                         std::vector<CheckpointTensor> weights, Exchange& exchange, Stream& stream,
                         MemoryLedger& ledger) {
  if (!imported.cast.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("weights go back in the type that they have in their files; dtype is ",
                     Name(job.options.dtype), ", cast were ", imported.cast[0],
                     imported.cast.size() > 1 ? " and others" : ""));
  }
  return ExportWeights(job.storage, job.options.exported, std::move(weights), exchange,
                       {.copied_from = &job.files, .copied = job.unused}, stream, ledger)
      .status();
}

absl::Status ProbeRank(const Job& job, GlobalRank rank, CommunicatorFactory& factory,
                       ProbeReport& report) {
  HETERO_ASSIGN_OR_RETURN(const Sizes sizes, PredictSizes(job, rank));
  MemoryLedger ledger;
  HETERO_ASSIGN_OR_RETURN(Arena activations, Arena::Create(Device{}, MemoryLabel::kActivations,
                                                           sizes.activation_bytes, ledger));
  HETERO_ASSIGN_OR_RETURN(Arena workspace, Arena::Create(Device{}, MemoryLabel::kWorkspace,
                                                         sizes.workspace_bytes, ledger));
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<Stream> stream,
                          Stream::Create(Device{}, workspace));
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<ProbedModule> module,
                          MakeModule(job.model, job.inputs,
                                     {.grid = job.grid,
                                      .rank = rank,
                                      .factory = factory,
                                      .device = Device{},
                                      .storage = job.options.dtype,
                                      .ledger = ledger}));
  std::unique_ptr<Communicator> world;
  if (job.grid.num_ranks() > 1) {
    HETERO_ASSIGN_OR_RETURN(world,
                            factory.Create({"weights", *job.grid.GroupOf(Family::kModule, rank)}));
  }
  Exchange exchange(world.get());
  HETERO_ASSIGN_OR_RETURN(const NameMap names, NameMap::Create(module->names()));
  HETERO_ASSIGN_OR_RETURN(const std::vector<CheckpointTensor> weights,
                          names.Apply(StatesOf(*module, Part::kWeight)));
  HETERO_ASSIGN_OR_RETURN(const LoadReport imported,
                          ImportWeights(job, weights, exchange, *stream, ledger));
  HETERO_RETURN_IF_ERROR(module->CopyToTwin(*stream));
  if (!job.options.exported.empty()) {
    HETERO_RETURN_IF_ERROR(ExportModel(job, imported, weights, exchange, *stream, ledger));
  }

  HETERO_RETURN_IF_ERROR(ForwardAndBackward(*module, activations, *stream, job.options));
  std::vector<CheckpointTensor> outputs;
  if (job.options.layers) Append(module->layers(), outputs);
  Append(module->outputs(), outputs);
  if (job.options.gradients) {
    HETERO_RETURN_IF_ERROR(SumGradients(*module, job, rank, factory, *stream, ledger));
    HETERO_RETURN_IF_ERROR(module->AddGradientOfTwin(*stream));
    HETERO_ASSIGN_OR_RETURN(std::vector<CheckpointTensor> gradients,
                            names.Apply(StatesOf(*module, Part::kGradient), "", kGradientPrefix));
    Append(std::move(gradients), outputs);
  }
  HETERO_ASSIGN_OR_RETURN(
      const ExportReport written,
      ExportWeights(job.storage, job.options.output.parent_path(), std::move(outputs), exchange,
                    {.file_name = job.options.output.filename().native(),
                     .metadata = {{"format", "pt"}, {"order", OrderOf(*module)}}},
                    *stream, ledger));
  if (exchange.rank() != 0) return absl::OkStatus();
  report = {.loss = module->loss(),
            .weights = imported.tensors,
            .unused = imported.unused,
            .cast = imported.cast,
            .tensors_written = written.tensors};
  return absl::OkStatus();
}

// Whatever describes the model beside its weights goes with them.
absl::Status CopyDescriptions(Storage& storage, const fs::path& from, const fs::path& to) {
  HETERO_ASSIGN_OR_RETURN(const std::vector<std::string> names, storage.List(from));
  for (const std::string& name : names) {
    if (!absl::EndsWith(name, ".json") || absl::EndsWith(name, ".index.json")) continue;
    HETERO_ASSIGN_OR_RETURN(const std::string text, ReadText(storage, from / name));
    HETERO_RETURN_IF_ERROR(WriteText(storage, to / name, text));
  }
  return storage.SyncDirectory(to);
}

}  // namespace

absl::StatusOr<ProbeReport> Probe(Storage& storage, const ProbeOptions& options) {
  HETERO_ASSIGN_OR_RETURN(const PublishedModel model, ReadPublishedModel(storage, options.model));
  HETERO_ASSIGN_OR_RETURN(const Inputs inputs, ReadInputs(storage, options.inputs, model));
  HETERO_ASSIGN_OR_RETURN(const Grid grid, MakeGrid(options));
  HETERO_ASSIGN_OR_RETURN(const auto files, SafetensorsReader::Open(storage, options.model));
  Job job{.storage = storage,
          .options = options,
          .model = model,
          .inputs = inputs,
          .grid = grid,
          .unused = options.unused,
          .files = *files};
  if (std::holds_alternative<proto::RadioEncoder>(model)) {
    job.unused.insert(job.unused.end(), std::begin(kRadioExtras), std::end(kRadioExtras));
  }
  ProbeReport report;
  HETERO_RETURN_IF_ERROR(
      RunRanks(grid.num_ranks(), [&](GlobalRank rank, CommunicatorFactory& factory) {
        return ProbeRank(job, rank, factory, report);
      }));
  if (!options.exported.empty()) {
    HETERO_RETURN_IF_ERROR(CopyDescriptions(storage, options.model, options.exported));
  }
  return report;
}

}  // namespace hetero
