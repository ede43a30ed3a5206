// Prepares Fashion-MNIST once in a folder and prints what the lanes of two grids read first.

#include <cstdint>
#include <filesystem>
#include <iostream>
#include <memory>
#include <utility>
#include <vector>

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

  // The encoder's microbatches are made ahead of their use.
  HETERO_ASSIGN_OR_RETURN(std::unique_ptr<SampleSource> pixels,
                          CaptionSource::Create(dataset, captions));
  HETERO_ASSIGN_OR_RETURN(
      const std::unique_ptr<Prefetcher<MediaBatch>> encoder,
      Prefetcher<MediaBatch>::Create(
          std::vector<MediaBatch>(3),
          [&layout, &order, source = std::move(pixels)](int64_t n, MediaBatch& out) {
            const int64_t step = n / layout.NumMicrobatches();
            const int64_t microbatch = n % layout.NumMicrobatches();
            return BuildMediaBatch(*source, order, LaneSamples(layout, {0, 1}, step, microbatch),
                                   /*modality=*/0, out);
          }));
  HETERO_ASSIGN_OR_RETURN(const BatchLease<MediaBatch> images, encoder->Take(0));
  std::cout << "encoder lane 0 of 1: " << images->sizes.size() << " images, "
            << images->NumFeatures() << " patches\n";

  const RowFormat format = {
      .sequence_length = 48, .vocabulary_size = 512, .placeholder_ids = {ByteTokenizer::kImage}};
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<SampleSource> text,
                          CaptionSource::Create(dataset, captions));
  LanguageSample scratch;
  LanguageBatch rows;
  for (int64_t lane = 0; lane < 2; ++lane) {
    HETERO_RETURN_IF_ERROR(BuildLanguageBatch(
        *text, order, LaneSamples(layout, {lane, 2}, /*step=*/0, /*microbatch=*/0), format, scratch,
        rows));
    std::cout << "language lane " << lane << " of 2: " << rows.num_samples << " rows, "
              << rows.num_loss_tokens << " loss tokens\n";
  }
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  const absl::Status status = Run(argc > 1 ? argv[1] : "fashion_mnist");
  if (!status.ok()) std::cerr << status << "\n";
  return status.ok() ? 0 : 1;
}
