#include "hetero/trainer/feed/open_splits.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "hetero/base/counted.h"
#include "hetero/base/status.h"
#include "hetero/data/energon/open_blend.h"
#include "hetero/data/joined_source.h"
#include "hetero/data/quarantine.h"
#include "hetero/data/sample_order.h"
#include "hetero/trainer/feed/split_quarantine.h"
#include "hetero/trainer/feed/training_order.h"

namespace hetero {
namespace {

using proto::RunConfig;

absl::StatusOr<std::unique_ptr<data::SampleSource>> OpenSource(const data::OpenedBlend& blend,
                                                               const SampleReading& reading) {
  std::vector<data::JoinedSource::Part> parts;
  for (const data::BlendedDataset& part : blend.parts) {
    HETERO_ASSIGN_OR_RETURN(std::unique_ptr<data::SampleSource> source,
                            reading.open(part.dataset()));
    parts.push_back({.source = std::move(source), .samples = part.samples()});
  }
  return std::make_unique<data::JoinedSource>(std::move(parts));
}

struct OpenSplit {
  std::shared_ptr<const data::OpenedBlend> blend;
  std::unique_ptr<data::SampleSource> source;
};

absl::StatusOr<OpenSplit> Open(const NamedSplit& named, const SampleReading& reading,
                               const data::LongWork& work) {
  absl::StatusOr<std::shared_ptr<const data::OpenedBlend>> blend =
      data::OpenBlend(named.path, named.split, work, reading.with_headers);
  HETERO_RETURN_IF_ERROR(blend.status()).With(named.field);
  absl::StatusOr<std::unique_ptr<data::SampleSource>> source = OpenSource(**blend, reading);
  HETERO_RETURN_IF_ERROR(source.status()).With(named.field);
  return OpenSplit{.blend = *std::move(blend), .source = *std::move(source)};
}

SampleSet SamplesOf(std::shared_ptr<const data::OpenedBlend> blend, data::SampleOrder order,
                    const SampleReading& reading,
                    std::shared_ptr<const SplitQuarantine> quarantine) {
  auto where = [blend](int64_t index) {
    const auto [part, number] = blend->Find(index);
    return blend->parts[part].dataset()->PlaceOf(number);
  };
  auto open = [blend = std::move(blend), reading,
               quarantine]() -> absl::StatusOr<std::unique_ptr<data::SampleSource>> {
    HETERO_ASSIGN_OR_RETURN(std::unique_ptr<data::SampleSource> source,
                            OpenSource(*blend, reading));
    if (quarantine == nullptr) return source;
    return std::make_unique<data::QuarantinedSource>(std::move(source), quarantine->samples);
  };
  return {.order = std::move(order),
          .open = std::move(open),
          .quarantine = std::move(quarantine),
          .where = std::move(where)};
}

std::string Describe(const data::OpenedBlend& blend) {
  if (blend.parts.size() == 1) return "";
  return absl::StrFormat(
      ", %s in %s", Counted(blend.begins.back() + blend.parts.back().samples().count, "sample"),
      Counted(static_cast<int64_t>(blend.parts.size()), "data set"));
}

}  // namespace

absl::StatusOr<RunSamples> OpenSplits(const RunConfig& config, const InputContract& contract,
                                      int64_t num_lanes, const NamedSplit& train,
                                      const NamedSplit& evaluation, const SampleReading& reading,
                                      const std::filesystem::path& working_folder,
                                      const data::LongWork& work) {
  std::shared_ptr<RunQuarantine> quarantine;
  if (config.data().has_quarantine()) {
    absl::StatusOr<std::shared_ptr<RunQuarantine>> read =
        RunQuarantine::Read(config.data().quarantine(), working_folder);
    HETERO_RETURN_IF_ERROR(read.status()).With("data.quarantine.file");
    quarantine = *std::move(read);
  }
  HETERO_ASSIGN_OR_RETURN(OpenSplit training, Open(train, reading, work));
  HETERO_ASSIGN_OR_RETURN(const std::shared_ptr<const SplitQuarantine> of_training,
                          QuarantineOf(quarantine.get(), contract, training.blend, reading));
  data::SampleSource* planned = training.source.get();
  std::unique_ptr<SiftingSource> sifting;
  if (of_training != nullptr) {
    sifting = std::make_unique<SiftingSource>(std::move(training.source), *of_training);
    planned = sifting.get();
  }
  HETERO_ASSIGN_OR_RETURN(TrainingOrder order, MakeTrainingOrder(config, contract, num_lanes,
                                                                 training.blend, *planned, work));
  if (sifting != nullptr) {
    const proto::Quarantine& settings = config.data().quarantine();
    HETERO_RETURN_IF_ERROR(sifting->ListFound(
        settings.has_file() ? working_folder / settings.file() : std::filesystem::path(), work));
  }
  std::string description = absl::StrCat(Describe(*training.blend), order.description);
  RunSamples samples = {
      .train = SamplesOf(std::move(training.blend), order.order, reading, of_training),
      .lane_order = std::move(order.lanes),
      .evaluation = std::nullopt,
      .quarantine = quarantine,
      .description = std::move(description)};
  if (config.has_evaluation()) {
    HETERO_ASSIGN_OR_RETURN(OpenSplit evaluating, Open(evaluation, reading, work));
    HETERO_ASSIGN_OR_RETURN(const std::shared_ptr<const SplitQuarantine> of_evaluation,
                            QuarantineOf(quarantine.get(), contract, evaluating.blend, reading));
    HETERO_ASSIGN_OR_RETURN(const data::SampleOrder once,
                            data::SampleOrder::OnePass(evaluating.source->size()));
    samples.evaluation = SamplesOf(std::move(evaluating.blend), once, reading, of_evaluation);
  }
  if (quarantine != nullptr) {
    HETERO_RETURN_IF_ERROR(quarantine->CheckSize());
  }
  return samples;
}

}  // namespace hetero
