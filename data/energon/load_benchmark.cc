// Loads captioned images in the order of Megatron-Energon's loader and prints how many in which
// processor time.
//
//   load_benchmark FOLDER read|decode|features IMAGES
//
// "read" stops at the bytes of a sample, "decode" at its pixels, "features" at what an encoder
// reads. load_benchmark.py makes the folder and runs it beside the reference.

#include <cstdint>
#include <ctime>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/data/batch.h"
#include "hetero/data/caption_source.h"
#include "hetero/data/energon/loader_plan.h"
#include "hetero/data/energon/open_blend.h"
#include "hetero/data/energon/rank_loader.h"
#include "hetero/data/image/codec.h"
#include "hetero/data/image/image.h"
#include "hetero/data/tar/shard.h"
#include "hetero/data/webdataset/dataset.h"

namespace {

using namespace hetero::data;  // NOLINT: a program

constexpr int64_t kBatch = 16;

// What is done with a sample, by its number in the data set.
class Loader {
 public:
  static absl::StatusOr<std::unique_ptr<Loader>> Create(std::shared_ptr<const Dataset> dataset,
                                                        std::string_view mode) {
    std::unique_ptr<Loader> loader(new Loader());
    loader->decodes_ = mode == "decode";
    if (mode == "features") {
      HETERO_ASSIGN_OR_RETURN(
          loader->source_,
          CaptionSource::Create(
              dataset, {.sequence_length = 8192,
                        .tiling = {.patch_size = 16, .min_patches = 4, .max_patches = 1024}}));
    } else if (mode != "read" && mode != "decode") {
      return absl::InvalidArgumentError(absl::StrCat("no mode \"", mode, "\""));
    }
    loader->dataset_ = std::move(dataset);
    return loader;
  }

  absl::Status Load(int64_t index) {
    if (source_ != nullptr) {
      media_.Clear(source_->feature_width(0));
      media_.BeginSample();
      HETERO_RETURN_IF_ERROR(source_->ReadMedia(index, 0, media_));
      work_ += media_.NumFeatures();
      return absl::OkStatus();
    }
    HETERO_RETURN_IF_ERROR(dataset_->Read(index, sample_));
    const RawSample::Part* const image = sample_.Find("jpg");
    if (image == nullptr) return absl::DataLossError("a sample has no jpg");
    if (decodes_) {
      HETERO_RETURN_IF_ERROR(DecodeImage(image->bytes, pixels_));
      work_ += pixels_.size.Area();
    } else {
      work_ += static_cast<int64_t>(image->bytes.size());
    }
    return absl::OkStatus();
  }

  // Bytes, pixels or patches of all so far.
  int64_t work() const { return work_; }

 private:
  Loader() = default;

  std::shared_ptr<const Dataset> dataset_;
  bool decodes_ = false;
  std::unique_ptr<CaptionSource> source_;
  RawSample sample_;
  Image pixels_;
  MediaBatch media_;
  int64_t work_ = 0;
};

absl::Status Run(const char* folder, std::string_view mode, int64_t num_images) {
  HETERO_ASSIGN_OR_RETURN(const std::shared_ptr<const OpenedBlend> blend,
                          OpenBlend(folder, "train", {}, /*with_headers=*/mode == "features"));
  HETERO_ASSIGN_OR_RETURN(const std::shared_ptr<const LoaderPlan> plan,
                          LoaderPlan::Make({.splits = blend->splits,
                                            .mode = blend->mode,
                                            .shape = {.num_ranks = 1, .num_workers = 1},
                                            .batch_size = kBatch}));
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<Loader> loader,
                          Loader::Create(blend->parts[0].dataset(), mode));
  RankLoader order(plan, /*rank=*/0);
  const std::clock_t start = std::clock();
  for (int64_t i = 0; i < num_images; i += kBatch) {
    for (const SampleReference& sample : order.Next()) {
      HETERO_RETURN_IF_ERROR(loader->Load(blend->IndexOf(sample)));
    }
  }
  std::cout << "cpu_seconds " << static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC
            << "\nwork " << loader->work() << "\n";
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  int64_t num_images = 0;
  if (argc != 4 || !absl::SimpleAtoi(argv[3], &num_images) || num_images % kBatch != 0) {
    std::cerr << "load_benchmark FOLDER read|decode|features IMAGES, whole batches of " << kBatch
              << "\n";
    return 2;
  }
  const absl::Status status = Run(argv[1], argv[2], num_images);
  if (!status.ok()) std::cerr << status << "\n";
  return status.ok() ? 0 : 1;
}
