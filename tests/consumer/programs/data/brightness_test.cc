// Looks at a folder of captioned pictures without training on it: makes a WebDataset of two shards,
// one picture of which is damaged, and prints the mean brightness of each caption's pictures.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/base/status.h"
#include "hetero/data/data.h"
#include "hetero/data/image/codec.h"
#include "hetero/data/image/image.h"
#include "hetero/data/tar/shard.h"
#include "hetero/data/tar/writer.h"

namespace {

constexpr int kPicturesPerShard = 6;

struct Brightness {
  double sum = 0;
  std::int64_t num_pictures = 0;
};

std::string_view CaptionOf(int picture) { return picture % 2 == 0 ? "night" : "noon"; }

absl::Status WriteShard(const std::filesystem::path& path, int first_picture) {
  HETERO_ASSIGN_OR_RETURN(hetero::data::TarWriter tar, hetero::data::TarWriter::Create(path));
  for (int picture = first_picture; picture < first_picture + kPicturesPerShard; ++picture) {
    hetero::data::Image image;
    image.Reshape({.height = 8 + picture, .width = 12}, /*new_channels=*/1);
    image.pixels.assign(image.pixels.size(), CaptionOf(picture) == "night" ? 10 : 200);
    HETERO_ASSIGN_OR_RETURN(std::string png, hetero::data::EncodePng(image));
    if (picture == 3) png.resize(png.size() / 2);
    const std::string key = "picture" + std::to_string(picture);
    HETERO_RETURN_IF_ERROR(tar.Add(key + ".png", png));
    HETERO_RETURN_IF_ERROR(tar.Add(key + ".txt", CaptionOf(picture)));
  }
  return tar.Close();
}

absl::StatusOr<std::map<std::string, Brightness>> Measure(const hetero::data::Dataset& dataset) {
  std::map<std::string, Brightness> by_caption;
  hetero::data::RawSample sample;
  hetero::data::Image image;
  for (std::int64_t i = 0; i < dataset.size(); ++i) {
    HETERO_RETURN_IF_ERROR(dataset.Read(i, sample));
    HETERO_RETURN_IF_ERROR(hetero::data::DecodeImage(sample.Find("png")->bytes, image))
        .With(sample.Name());
    Brightness& brightness = by_caption[std::string(sample.Find("txt")->bytes)];
    brightness.sum += std::accumulate(image.pixels.begin(), image.pixels.end(), 0.0) /
                      static_cast<double>(image.pixels.size());
    ++brightness.num_pictures;
  }
  return by_caption;
}

absl::Status Run(const std::filesystem::path& folder) {
  HETERO_RETURN_IF_ERROR(WriteShard(folder / "album-0.tar", 0));
  HETERO_RETURN_IF_ERROR(WriteShard(folder / "album-1.tar", kPicturesPerShard));
  HETERO_RETURN_IF_ERROR(
      hetero::data::PrepareDataset(folder, {.splits = {{"all", {"album-{0..1}.tar"}}}}).status());
  HETERO_ASSIGN_OR_RETURN(const std::shared_ptr<const hetero::data::Dataset> dataset,
                          hetero::data::Dataset::Open(folder, "all"));
  if (dataset->num_excluded() != 1) return absl::InternalError("the damaged picture is in use");

  HETERO_ASSIGN_OR_RETURN(const auto by_caption, Measure(*dataset));
  for (const auto& [caption, brightness] : by_caption) {
    std::printf("%s: %.1f over %lld pictures\n", caption.c_str(),
                brightness.sum / static_cast<double>(brightness.num_pictures),
                static_cast<long long>(brightness.num_pictures));
  }
  const Brightness& noon = by_caption.at("noon");
  if (noon.num_pictures != 5 || noon.sum != 5 * 200.0) {
    return absl::InternalError("the pictures of noon are not those that were written");
  }
  return absl::OkStatus();
}

}  // namespace

int main() {
  const absl::Status status = Run(std::getenv("TEST_TMPDIR"));
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.ok() ? EXIT_SUCCESS : EXIT_FAILURE;
}
