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
#include "hetero/data/conversation_source.h"
#include "hetero/data/fashion_mnist.h"
#include "hetero/data/image_planner.h"
#include "hetero/data/mock_source.h"
#include "hetero/data/packing/selector.h"
#include "hetero/data/text/conversation.h"
#include "hetero/data/webdataset/dataset.h"
#include "hetero/trainer/feed/open_splits.h"
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

SampleReading ReadCaptions(const data::CaptionOptions& options) {
  return {.open = [options](std::shared_ptr<const data::Dataset> dataset)
              -> absl::StatusOr<std::unique_ptr<data::SampleSource>> {
            return data::CaptionSource::Create(std::move(dataset), options);
          },
          .with_headers = options.canvases.empty()};
}

SampleReading ReadConversations(const data::ConversationOptions& options) {
  return {.open = [options](std::shared_ptr<const data::Dataset> dataset)
              -> absl::StatusOr<std::unique_ptr<data::SampleSource>> {
    return data::ConversationSource::Create(std::move(dataset), options);
  }};
}

absl::StatusOr<RunSamples> PrepareFashion(const RunConfig& config, const InputContract& contract,
                                          int64_t num_lanes, const fs::path& working_folder,
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
      OpenSplits(config, contract, num_lanes, {kField, prepare.output, "train"},
                 {kField, prepare.output, "test"}, ReadCaptions(CaptionOptionsOf(config, contract)),
                 working_folder, work));
  samples.description =
      absl::StrCat("Fashion-MNIST in ", prepare.output.native(), samples.description);
  return samples;
}

absl::StatusOr<RunSamples> OpenWebDataset(const RunConfig& config, const InputContract& contract,
                                          int64_t num_lanes, const fs::path& working_folder,
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
      OpenSplits(config, contract, num_lanes, {"data.web_dataset.train", train, "train"},
                 {"data.web_dataset.evaluation", working_folder / web.evaluation(), "val"},
                 ReadCaptions(captions), working_folder, work));
  samples.description = absl::StrCat("WebDataset in ", train.native(), samples.description);
  return samples;
}

data::ImageTag TagOf(const proto::SampleImages& images) {
  switch (images.tag()) {
    case proto::SampleImages::NVLM:
      return data::ImageTag::kNvlm;
    case proto::SampleImages::INTERNVL:
      return data::ImageTag::kInternVl;
    default:
      return data::ImageTag::kNone;
  }
}

absl::StatusOr<std::shared_ptr<const data::Prompt>> OpenPrompt(const RunConfig& config,
                                                               const InputContract& contract,
                                                               const fs::path& working_folder) {
  const proto::Conversations& conversations = config.data().conversations();
  HETERO_ASSIGN_OR_RETURN(std::shared_ptr<const data::Tokenizer> tokenizer,
                          OpenTokenizer(working_folder / config.data().tokenizer(), contract));
  absl::StatusOr<data::Prompt> prompt = data::Prompt::Create(
      std::move(tokenizer), {.image_tag = TagOf(conversations.images()),
                             .force_empty_system = conversations.force_empty_system(),
                             .think_mode = conversations.think_mode()});
  HETERO_RETURN_IF_ERROR(prompt.status()).With("data.tokenizer");
  if (prompt->pad_id() != config.data().pad_token_id()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("data.pad_token_id is %d, must be that of the prompt format; nearest: %d",
                        config.data().pad_token_id(), prompt->pad_id()));
  }
  return std::make_shared<const data::Prompt>(*std::move(prompt));
}

absl::StatusOr<RunSamples> OpenConversations(const RunConfig& config, const InputContract& contract,
                                             int64_t num_lanes, const fs::path& working_folder,
                                             const data::LongWork& work) {
  const proto::Conversations& conversations = config.data().conversations();
  const fs::path train = working_folder / conversations.train();
  data::ConversationOptions options = ConversationOptionsOf(config, contract);
  HETERO_ASSIGN_OR_RETURN(options.prompt, OpenPrompt(config, contract, working_folder));
  HETERO_ASSIGN_OR_RETURN(
      RunSamples samples,
      OpenSplits(
          config, contract, num_lanes, {"data.conversations.train", train, "train"},
          {"data.conversations.evaluation", working_folder / conversations.evaluation(), "val"},
          ReadConversations(options), working_folder, work));
  samples.description = absl::StrCat("conversations in ", train.native(), samples.description);
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
                                       int64_t num_lanes, const fs::path& working_folder,
                                       const data::LongWork& work) {
  switch (config.data().source_case()) {
    case Data::kFashionMnist:
      return PrepareFashion(config, contract, num_lanes, working_folder, work);
    case Data::kWebDataset:
      return OpenWebDataset(config, contract, num_lanes, working_folder, work);
    case Data::kConversations:
      return OpenConversations(config, contract, num_lanes, working_folder, work);
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

// Of the samples' images, or of those of the rows that they share.
data::SourceLimits ImageLimits(const RunConfig& config, const InputContract& contract) {
  const Data& data = config.data();
  if (data.has_mock()) return data::ImageLimits(MockOptionsOf(config, contract));
  data::SourceLimits one = LargestImageOf(config, contract);
  if (one.max_tokens == 0) return one;
  if (data.has_packing()) {
    const data::PackLimits row = RowPlanOptionsOf(config, contract).limits;
    return data::LimitsOfViews(one, row.num_images, row.num_patches, TilingOf(config, contract));
  }
  return data.has_conversations() ? data::LimitsOf(ConversationOptionsOf(config, contract)) : one;
}

data::SourceLimits ClipLimits(const RunConfig& config, const InputContract& contract) {
  if (config.data().has_mock()) return data::ClipLimits(MockOptionsOf(config, contract));
  return {.feature_width = contract.num_mels,
          .sizes = {}};  // of which captions and turns have none
}

}  // namespace

SampleLimits LimitsOf(const RunConfig& config, const InputContract& contract) {
  SampleLimits limits = {.modalities = {}, .packs_rows = config.data().has_packing()};
  limits.modalities.resize((TakesImages(contract) ? 1 : 0) + (TakesClips(contract) ? 1 : 0));
  if (TakesImages(contract)) {
    limits.modalities[contract.image_modality] = ImageLimits(config, contract);
  }
  if (TakesClips(contract)) {
    limits.modalities[contract.audio_modality] = ClipLimits(config, contract);
  }
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
                                          int64_t num_lanes, const fs::path& working_folder,
                                          const data::LongWork& work) {
  HETERO_ASSIGN_OR_RETURN(RunSamples samples,
                          OpenSamples(config, contract, num_lanes, working_folder, work));
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
