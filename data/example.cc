// Prepares Fashion-MNIST once in a folder and prints what the lanes of two grids read first.

#include <cstdint>
#include <filesystem>
#include <iostream>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/base/status.h"
#include "hetero/data/data.h"

namespace {

using namespace hetero::data;  // NOLINT: an example

absl::Status Run(const std::filesystem::path& folder) {
  HETERO_RETURN_IF_ERROR(PrepareFashionMnist({.output = folder}));
  HETERO_ASSIGN_OR_RETURN(const std::shared_ptr<const Dataset> dataset,
                          Dataset::Open(folder, "train"));

  const CaptionOptions captions = {.sequence_length = 48,
                                   .tiling = {.patch_size = 4},
                                   .canvases = {{32, 32}, {32, 48}, {48, 32}}};
  HETERO_ASSIGN_OR_RETURN(const SampleOrder order,
                          SampleOrder::Shuffled(dataset->size(), /*seed=*/1234));
  // One encoder lane serves two language lanes of 8 samples a microbatch.
  const BatchLayout layout = {.global_batch_size = 64, .samples_per_microbatch = 16};

  HETERO_ASSIGN_OR_RETURN(std::unique_ptr<SampleSource> pixels,
                          CaptionSource::Create(dataset, captions));
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<MediaLoader> encoder,
                          MakeMediaLoader(std::move(pixels), 0,
                                          {.order = order, .layout = layout, .position = {0, 1}}));
  HETERO_ASSIGN_OR_RETURN(const BatchLease<MediaBatch> images, encoder->Next());
  std::cout << "encoder lane 0 of 1: " << images->sizes.size() << " images, "
            << images->NumFeatures() << " patches\n";

  for (int64_t lane = 0; lane < 2; ++lane) {
    HETERO_ASSIGN_OR_RETURN(std::unique_ptr<SampleSource> text,
                            CaptionSource::Create(dataset, captions));
    HETERO_ASSIGN_OR_RETURN(
        const std::unique_ptr<LanguageLoader> language,
        MakeLanguageLoader(std::move(text),
                           {.order = order, .layout = layout, .position = {lane, 2}},
                           {.sequence_length = 48,
                            .vocabulary_size = 512,
                            .placeholder_ids = {ByteTokenizer::kImage}}));
    HETERO_ASSIGN_OR_RETURN(const BatchLease<LanguageBatch> rows, language->Next());
    std::cout << "language lane " << lane << " of 2: " << rows->num_samples << " rows, "
              << rows->num_loss_tokens << " loss tokens\n";
  }
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  const absl::Status status = Run(argc > 1 ? argv[1] : "fashion_mnist");
  if (!status.ok()) std::cerr << status << "\n";
  return status.ok() ? 0 : 1;
}
