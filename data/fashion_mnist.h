#ifndef HETERO_DATA_FASHION_MNIST_H_
#define HETERO_DATA_FASHION_MNIST_H_

// Fashion-MNIST (Xiao, Rasul and Vollgraf 2017; Debian package dataset-fashion-mnist) as a
// captioning data set: 70,000 grey photographs of 28 x 28 pixels with the name of their label.

#include <array>
#include <cstdint>
#include <filesystem>
#include <string_view>

#include "absl/status/statusor.h"
#include "hetero/data/file/long_work.h"
#include "hetero/data/webdataset/prepare.h"

namespace hetero::data {

// Captions, by label.
inline constexpr std::array<std::string_view, 10> kFashionLabels = {
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal",      "Shirt",   "Sneaker",  "Bag",   "Ankle boot"};

struct FashionMnistOptions {
  // Holds {train,t10k}-{images-idx3,labels-idx1}-ubyte.gz.
  std::filesystem::path source = "/usr/share/datasets/fashion-mnist";
  std::filesystem::path output;
  int64_t samples_per_shard = 5000;
  LongWork work = {};
};

struct FashionMnistReport {
  bool was_ready = false;  // an earlier run had prepared it; nothing was written
  PrepareReport prepared;  // empty when was_ready
};

// Writes `output` with splits "train" (60,000 samples) and "test" (10,000), in the order of the
// source files. The folder appears under its name when it is complete. A prepared folder is left as
// it is and only read; runs that find none wait for the one that prepares it ("<output>.lock").
// Errors: NOT_FOUND for missing source files, DATA_LOSS for damaged ones, FAILED_PRECONDITION when
// `output` holds something else, INVALID_ARGUMENT for shards of less than one sample,
// RESOURCE_EXHAUSTED for want of memory or disk, CANCELLED when the user wants an end.
absl::StatusOr<FashionMnistReport> PrepareFashionMnist(const FashionMnistOptions& options);

}  // namespace hetero::data

#endif  // HETERO_DATA_FASHION_MNIST_H_
