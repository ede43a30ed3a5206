// How fast samples become batches, and how much of a step the loader can cost. Files lie in the
// page cache after the first pass; images are noise, which compresses worst.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/log/check.h"
#include "absl/strings/str_format.h"
#include "benchmark/benchmark.h"
#include "hetero/data/batch.h"
#include "hetero/data/batch_builder.h"
#include "hetero/data/caption_source.h"
#include "hetero/data/image/codec.h"
#include "hetero/data/image/image.h"
#include "hetero/data/image/patchify.h"
#include "hetero/data/image/resize.h"
#include "hetero/data/mock_source.h"
#include "hetero/data/sample_order.h"
#include "hetero/data/source.h"
#include "hetero/data/tar/shard.h"
#include "hetero/data/tar/writer.h"
#include "hetero/data/webdataset/dataset.h"
#include "hetero/data/webdataset/prepare.h"

namespace hetero::data {
namespace {

namespace fs = std::filesystem;

constexpr int kNumSamples = 5000;
constexpr int64_t kSequence = 48;

Image Noise(ImageSize size, int channels, uint32_t seed) {
  std::mt19937 random(seed);
  Image image;
  image.Reshape(size, channels);
  for (uint8_t& pixel : image.pixels) pixel = static_cast<uint8_t>(random());
  return image;
}

// Photographs of 28 x 28 pixels with captions, as Fashion-MNIST is prepared.
const std::shared_ptr<const Dataset>& SmallDataset() {
  static const auto* dataset = [] {
    const fs::path root = fs::temp_directory_path() / "hetero_data_benchmark";
    fs::remove_all(root);
    fs::create_directories(root);
    TarWriter writer = TarWriter::Create(root / "a.tar").value();
    for (int i = 0; i < kNumSamples; ++i) {
      const std::string key = absl::StrFormat("k%05d", i);
      CHECK_OK(writer.Add(key + ".png", EncodePng(Noise({28, 28}, 1, i), 1).value()));
      CHECK_OK(writer.Add(key + ".txt", "Ankle boot"));
    }
    CHECK_OK(writer.Close());
    CHECK_OK(PrepareDataset(root, {.splits = {{"train", {"a.tar"}}}, .fields = {}}));
    return new std::shared_ptr<const Dataset>(Dataset::Open(root, "train").value());
  }();
  return *dataset;
}

std::unique_ptr<CaptionSource> SmallSource() {
  return CaptionSource::Create(SmallDataset(), {.sequence_length = kSequence,
                                                .tiling = {.patch_size = 4},
                                                .canvases = {{32, 32}, {32, 48}, {48, 32}}})
      .value();
}

void BM_ReadSample(benchmark::State& state) {
  const Permutation order(kNumSamples, 1);
  RawSample sample;
  uint64_t i = 0;
  for (auto _ : state) {
    CHECK_OK(SmallDataset()->Read(static_cast<int64_t>(order(i++ % kNumSamples)), sample));
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_ReadSample);

void BM_LanguageBatch(benchmark::State& state) {
  const auto source = SmallSource();
  const SampleOrder order = SampleOrder::Shuffled(kNumSamples, 1).value();
  LanguageSample scratch;
  LanguageBatch batch;
  const int64_t size = state.range(0);
  int64_t n = 0;
  for (auto _ : state) {
    CHECK_OK(BuildLanguageBatch(
        *source, order, {.begin = size * n++, .size = size},
        {.sequence_length = kSequence, .vocabulary_size = 512, .placeholder_ids = {511}}, scratch,
        batch));
  }
  state.SetItemsProcessed(state.iterations() * size);
}
BENCHMARK(BM_LanguageBatch)->ArgName("samples")->Arg(8);

void BM_MediaBatch(benchmark::State& state) {
  const auto source = SmallSource();
  const SampleOrder order = SampleOrder::Shuffled(kNumSamples, 1).value();
  MediaBatch batch;
  const int64_t size = state.range(0);
  int64_t n = 0;
  for (auto _ : state) {
    CHECK_OK(BuildMediaBatch(*source, order, {.begin = size * n++, .size = size}, 0, batch));
  }
  state.SetItemsProcessed(state.iterations() * size);
}
BENCHMARK(BM_MediaBatch)->ArgName("samples")->Arg(8);

// One image of a web-sized data set: decode, bicubic resize, normalise and cut.
void BM_DecodeResizePatchify(benchmark::State& state) {
  const int side = static_cast<int>(state.range(0));
  std::vector<std::string> files;
  for (uint32_t i = 0; i < 4; ++i) files.push_back(EncodePng(Noise({side, side}, 3, i), 1).value());
  const ImageSize target = {.height = side / 32 * 32 + 32, .width = side / 32 * 32 + 32};
  const Patchifier patchifier(16, kClipNormalization);
  std::vector<float> patches(
      static_cast<size_t>(patchifier.NumPatches(target) * patchifier.patch_elements()));
  Image decoded;
  Image rgb;
  ResizeScratch scratch;
  size_t n = 0;
  for (auto _ : state) {
    CHECK_OK(DecodeImage(files[n++ % files.size()], decoded));
    ResizeToRgb(decoded, target, scratch, rgb);
    patchifier.Run(rgb, patches);
    benchmark::DoNotOptimize(patches.data());
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_DecodeResizePatchify)->ArgName("side")->Arg(500);

void BM_MockImages(benchmark::State& state) {
  const auto source = MockSource::Create({.sequence_length = 8192,
                                          .image_tokens = 4096,
                                          .vocabulary_size = 131072,
                                          .image_id = 511,
                                          .patch_size = 16})
                          .value();
  const SampleOrder order = SampleOrder::Shuffled(10000, 1).value();
  MediaBatch batch;
  int64_t n = 0;
  for (auto _ : state) {
    CHECK_OK(BuildMediaBatch(*source, order, {.begin = n++, .size = 1}, 0, batch));
  }
  state.SetBytesProcessed(state.iterations() *
                          static_cast<int64_t>(batch.features.size() * sizeof(float)));
}
BENCHMARK(BM_MockImages);

void BM_SampleOrder(benchmark::State& state) {
  const SampleOrder order = SampleOrder::Shuffled(state.range(0), 1).value();
  int64_t i = 0;
  for (auto _ : state) benchmark::DoNotOptimize(order.DatasetIndex(i++));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_SampleOrder)->Arg(60'000)->Arg(1'000'000'007);

}  // namespace
}  // namespace hetero::data
