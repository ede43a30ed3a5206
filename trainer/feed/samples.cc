#include "hetero/trainer/feed/samples.h"

#include <algorithm>
#include <cstdlib>
#include <string>
#include <utility>

#include "absl/log/log.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "hetero/base/counted.h"
#include "hetero/base/rounding.h"
#include "hetero/base/status.h"
#include "hetero/data/caption_source.h"
#include "hetero/data/fashion_mnist.h"
#include "hetero/data/image/image.h"
#include "hetero/data/mock_source.h"
#include "hetero/data/packing/plan_rows.h"
#include "hetero/data/packing/selector.h"
#include "hetero/data/webdataset/dataset.h"
#include "hetero/data/webdataset/prepare_command.h"
#include "hetero/trainer/feed/open_tokenizer.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

using proto::Data;
using proto::RunConfig;

// Splits of mock data; samples of different ones share nothing.
constexpr uint64_t kTrainSplit = 0;
constexpr uint64_t kEvaluationSplit = 1;

// ${XDG_CACHE_HOME} or ${HOME}/.cache, as the XDG Base Directory Specification has it.
absl::StatusOr<fs::path> UserCacheFolder() {
  const auto variable = [](const char* name) -> fs::path {
    const char* value = std::getenv(name);
    return value == nullptr ? fs::path() : fs::path(value);
  };
  if (const fs::path cache = variable("XDG_CACHE_HOME"); cache.is_absolute()) return cache;
  if (const fs::path home = variable("HOME"); home.is_absolute()) return home / ".cache";
  return absl::FailedPreconditionError(
      "neither XDG_CACHE_HOME nor HOME names a folder; set data.fashion_mnist.cache");
}

SampleSet CaptionSamples(std::shared_ptr<const data::Dataset> dataset, data::SampleOrder order,
                         const data::CaptionOptions& options) {
  return {.order = order,
          .open = [dataset = std::move(dataset),
                   options]() -> absl::StatusOr<std::unique_ptr<data::SampleSource>> {
            return data::CaptionSource::Create(dataset, options);
          }};
}

// A split of a prepared folder, and the field of the configuration that names the folder.
struct NamedSplit {
  std::string_view field;
  fs::path folder;
  std::string_view split;
};

absl::StatusOr<std::shared_ptr<const data::Dataset>> OpenDataset(const NamedSplit& named,
                                                                 const data::LongWork& work,
                                                                 bool with_headers) {
  absl::StatusOr<std::shared_ptr<const data::Dataset>> dataset =
      data::Dataset::Open(named.folder, named.split, work, with_headers);
  HETERO_RETURN_IF_ERROR(data::WithPrepareCommand(dataset.status(), named.folder))
      .With(named.field);
  return dataset;
}

struct TrainingOrder {
  data::SampleOrder order;  // of samples, or of the rows that they share
  std::string description;  // of the rows
};

absl::StatusOr<TrainingOrder> MakeTrainingOrder(const RunConfig& config,
                                                const InputContract& contract,
                                                const std::shared_ptr<const data::Dataset>& train,
                                                const data::CaptionOptions& options,
                                                const data::LongWork& work) {
  const auto seed = static_cast<uint64_t>(config.seed());
  if (!config.data().has_packing()) {
    HETERO_ASSIGN_OR_RETURN(const data::SampleOrder order,
                            data::SampleOrder::Shuffled(train->size(), seed));
    return TrainingOrder{.order = order, .description = {}};
  }
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<data::SampleSource> source,
                          data::CaptionSource::Create(train, options));
  absl::StatusOr<data::RowPlan> plan =
      data::PlanRows(*source, RowPlanOptionsOf(config, contract), work);
  HETERO_RETURN_IF_ERROR(plan.status()).With("data.packing");
  std::string description =
      absl::StrFormat(", %s in %s, %.1f %% full", Counted(train->size(), "sample"),
                      Counted(plan->rows->num_rows(), "row"), 100 * plan->fill_rate);
  HETERO_ASSIGN_OR_RETURN(const data::SampleOrder order,
                          data::SampleOrder::Packed(std::move(plan->rows), seed));
  return TrainingOrder{.order = order, .description = std::move(description)};
}

// Training samples and, if the run evaluates, those of `evaluation_split`.
absl::StatusOr<RunSamples> OpenCaptions(const RunConfig& config, const InputContract& contract,
                                        const NamedSplit& train_split,
                                        const NamedSplit& evaluation_split,
                                        const data::CaptionOptions& options,
                                        const data::LongWork& work) {
  HETERO_ASSIGN_OR_RETURN(std::shared_ptr<const data::Dataset> train,
                          OpenDataset(train_split, work, options.canvases.empty()));
  HETERO_ASSIGN_OR_RETURN(TrainingOrder training,
                          MakeTrainingOrder(config, contract, train, options, work));
  RunSamples samples = {.train = CaptionSamples(std::move(train), training.order, options),
                        .evaluation = std::nullopt,
                        .description = std::move(training.description)};
  if (!config.has_evaluation()) return samples;
  HETERO_ASSIGN_OR_RETURN(std::shared_ptr<const data::Dataset> evaluation,
                          OpenDataset(evaluation_split, work, options.canvases.empty()));
  HETERO_ASSIGN_OR_RETURN(const data::SampleOrder once,
                          data::SampleOrder::OnePass(evaluation->size()));
  samples.evaluation = CaptionSamples(std::move(evaluation), once, options);
  return samples;
}

absl::StatusOr<RunSamples> PrepareFashion(const RunConfig& config, const InputContract& contract,
                                          const fs::path& working_folder,
                                          const data::LongWork& work) {
  const proto::FashionMnist& fashion = config.data().fashion_mnist();
  data::FashionMnistOptions prepare;
  if (fashion.has_archive()) prepare.source = working_folder / fashion.archive();
  if (fashion.has_cache()) {
    prepare.output = working_folder / fashion.cache();
  } else {
    HETERO_ASSIGN_OR_RETURN(const fs::path cache, UserCacheFolder());
    prepare.output = cache / "hetero" / "fashion_mnist";
  }
  prepare.work = work;
  const absl::StatusOr<data::FashionMnistReport> report = data::PrepareFashionMnist(prepare);
  if (absl::IsNotFound(report.status())) {
    return absl::NotFoundError(absl::StrCat(report.status().message(),
                                            ": sudo apt-get install dataset-fashion-mnist, or "
                                            "set data.fashion_mnist.archive"));
  }
  HETERO_RETURN_IF_ERROR(report.status());
  if (!report->was_ready) {
    for (const std::string& warning : report->prepared.warnings) work.Say(warning);
    work.Say(absl::StrCat("prepared ", report->prepared.num_samples, " photographs, ",
                          report->prepared.excluded.size(), " of them unreadable"));
  }
  constexpr std::string_view kField = "data.fashion_mnist.cache";
  HETERO_ASSIGN_OR_RETURN(
      RunSamples samples,
      OpenCaptions(config, contract, {kField, prepare.output, "train"},
                   {kField, prepare.output, "test"}, CaptionOptionsOf(config, contract), work));
  samples.description =
      absl::StrCat("Fashion-MNIST in ", prepare.output.native(), samples.description);
  return samples;
}

absl::StatusOr<RunSamples> OpenWebDataset(const RunConfig& config, const InputContract& contract,
                                          const fs::path& working_folder,
                                          const data::LongWork& work) {
  const proto::WebDataset& web = config.data().web_dataset();
  const fs::path train = working_folder / web.train();
  data::CaptionOptions captions = CaptionOptionsOf(config, contract);
  if (config.data().has_tokenizer()) {
    HETERO_ASSIGN_OR_RETURN(captions.tokenizer,
                            OpenTokenizer(working_folder / config.data().tokenizer(), contract));
  }
  HETERO_ASSIGN_OR_RETURN(
      RunSamples samples,
      OpenCaptions(config, contract, {"data.web_dataset.train", train, "train"},
                   {"data.web_dataset.evaluation", working_folder / web.evaluation(), "val"},
                   captions, work));
  samples.description = absl::StrCat("WebDataset in ", train.native(), samples.description);
  return samples;
}

absl::StatusOr<RunSamples> MakeMock(const RunConfig& config, const InputContract& contract) {
  const proto::MockSamples& mock = config.data().mock();
  data::MockOptions options = MockOptionsOf(config, contract);
  options.split = kTrainSplit;
  // Sources of a process are made from options that one of them has accepted.
  HETERO_RETURN_IF_ERROR(data::MockSource::Create(options));
  const auto set = [](const data::MockOptions& of, const data::SampleOrder& order) {
    return SampleSet{.order = order,
                     .open = [of]() -> absl::StatusOr<std::unique_ptr<data::SampleSource>> {
                       return data::MockSource::Create(of);
                     }};
  };
  HETERO_ASSIGN_OR_RETURN(const data::SampleOrder once,
                          data::SampleOrder::OnePass(options.num_samples));
  data::SampleOrder order = once;
  if (mock.has_num_samples()) {
    HETERO_ASSIGN_OR_RETURN(order, data::SampleOrder::Shuffled(options.num_samples, options.seed));
  }
  RunSamples samples = {.train = set(options, order),
                        .evaluation = std::nullopt,
                        .description = "mock samples, made from the seed"};
  options.split = kEvaluationSplit;
  if (config.has_evaluation()) samples.evaluation = set(options, once);
  return samples;
}

absl::StatusOr<RunSamples> OpenSamples(const RunConfig& config, const InputContract& contract,
                                       const fs::path& working_folder, const data::LongWork& work) {
  switch (config.data().source_case()) {
    case Data::kFashionMnist:
      return PrepareFashion(config, contract, working_folder, work);
    case Data::kWebDataset:
      return OpenWebDataset(config, contract, working_folder, work);
    case Data::kMock:
      return MakeMock(config, contract);
    case Data::SOURCE_NOT_SET:
      break;
  }
  LOG(FATAL) << "the configuration was not validated";
}

}  // namespace

std::vector<Violation> ValidateSamples(const RunConfig& config, const RunSamples& samples) {
  if (!samples.evaluation.has_value()) return {};
  const proto::Evaluation& evaluation = config.evaluation();
  const int64_t size = samples.evaluation->order.num_samples();
  const int64_t batches = CeilDiv(size, evaluation.global_batch_size());
  if (evaluation.num_batches() <= batches) return {};
  return {Refuse("evaluation.num_batches",
                 absl::StrCat(" is ", evaluation.num_batches(), ", the ", Counted(size, "sample"),
                              " of the evaluation set fill ", Counted(batches, "batch", "batches"),
                              " of ", evaluation.global_batch_size()),
                 {absl::StrCat(batches)})};
}

namespace {

// Of a row: as many images as it may have, one of them the largest, which have all its patches.
data::SourceLimits PackedLimits(const RunConfig& config, const InputContract& contract,
                                data::SourceLimits sample) {
  const data::PackLimits row = RowPlanOptionsOf(config, contract).limits;
  const int64_t step = contract.patches_per_token;
  data::SourceLimits limits = {.feature_width = sample.feature_width,
                               .sizes = std::move(sample.sizes),
                               .max_features = row.num_patches / step * step,
                               .max_tokens = row.num_patches / step};
  int64_t tokens_left = limits.max_tokens - sample.max_tokens;
  for (int64_t images_left = row.num_images - 1; images_left > 0; --images_left) {
    const int64_t tokens = tokens_left / images_left;
    tokens_left -= tokens;
    const int64_t side = SideStep(contract);
    limits.sizes.push_back(
        {.height = static_cast<int>(side), .width = static_cast<int>(side * tokens)});
  }
  return limits;
}

}  // namespace

SampleLimits LimitsOf(const RunConfig& config, const InputContract& contract) {
  data::SourceLimits images;
  data::SourceLimits clips = {.feature_width = contract.num_mels};  // of which captions have none
  switch (config.data().source_case()) {
    case Data::kFashionMnist:
    case Data::kWebDataset:
      images = data::LimitsOf(CaptionOptionsOf(config, contract));
      if (config.data().has_packing()) images = PackedLimits(config, contract, std::move(images));
      break;
    case Data::kMock: {
      const data::MockOptions mock = MockOptionsOf(config, contract);
      images = data::ImageLimits(mock);
      clips = data::ClipLimits(mock);
      break;
    }
    case Data::SOURCE_NOT_SET:
      LOG(FATAL) << "the configuration was not validated";
  }
  SampleLimits limits = {.modalities = {}, .packs_rows = config.data().has_packing()};
  limits.modalities.resize((TakesImages(contract) ? 1 : 0) + (TakesClips(contract) ? 1 : 0));
  if (TakesImages(contract)) limits.modalities[contract.image_modality] = std::move(images);
  if (TakesClips(contract)) limits.modalities[contract.audio_modality] = std::move(clips);
  return limits;
}

SampleFacts LargestSample(int64_t sequence_length, const SampleLimits& limits) {
  SampleFacts largest = {.row_length = sequence_length, .modalities = {}};
  for (const data::SourceLimits& modality : limits.modalities) {
    largest.modalities.push_back({.num_tokens = modality.max_tokens, .sizes = modality.sizes});
  }
  return largest;
}

absl::StatusOr<RunSamples> PrepareSamples(const RunConfig& config, const InputContract& contract,
                                          const fs::path& working_folder,
                                          const data::LongWork& work) {
  HETERO_ASSIGN_OR_RETURN(RunSamples samples, OpenSamples(config, contract, working_folder, work));
  const SampleLimits limits = LimitsOf(config, contract);
  const auto without = [&](bool takes, int modality, std::string_view what) {
    if (!takes || limits.modalities[modality].max_tokens > 0) return;
    absl::StrAppend(&samples.description, ", none of them with ", what);
  };
  without(TakesImages(contract), contract.image_modality, "images");
  without(TakesClips(contract), contract.audio_modality, "audio");
  return samples;
}

}  // namespace hetero
