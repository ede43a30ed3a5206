#include "hetero/trainer/testing/captioned_images.h"

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "hetero/base/status.h"
#include "hetero/data/file/file.h"
#include "hetero/data/image/codec.h"
#include "hetero/data/tar/writer.h"
#include "hetero/data/webdataset/prepare.h"

namespace hetero {

absl::Status WriteCaptionedImages(const std::filesystem::path& folder,
                                  const std::vector<CaptionedImage>& samples) {
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  HETERO_ASSIGN_OR_RETURN(data::TarWriter writer, data::TarWriter::Create(folder / "shard.tar"));
  for (size_t i = 0; i < samples.size(); ++i) {
    data::Image image;
    image.Reshape(samples[i].size, 1);
    for (size_t p = 0; p < image.pixels.size(); ++p) {
      image.pixels[p] = static_cast<uint8_t>((p + 97 * i) * 2654435761u >> 24);
    }
    const std::string key = absl::StrFormat("k%02d", i);
    HETERO_ASSIGN_OR_RETURN(const std::string png, data::EncodePng(image, 0));
    HETERO_RETURN_IF_ERROR(writer.Add(key + ".png", png));
    HETERO_RETURN_IF_ERROR(writer.Add(key + ".txt", samples[i].caption));
  }
  HETERO_RETURN_IF_ERROR(writer.Close());
  return data::PrepareDataset(
             folder, {.splits = {{"train", {"shard.tar"}}, {"val", {"shard.tar"}}}, .fields = {}})
      .status();
}

absl::Status DamageImage(const std::filesystem::path& folder, std::string_view key,
                         ImagePart part) {
  const std::filesystem::path shard = folder / "shard.tar";
  HETERO_ASSIGN_OR_RETURN(std::string bytes, data::ReadFile(shard));
  const size_t header = bytes.find(absl::StrCat(key, ".png"));
  if (header == std::string::npos) {
    return absl::NotFoundError(absl::StrCat(shard.native(), " has no sample ", key));
  }
  // Behind the tar header come the signature of PNG, 8 bytes, its first chunk and the pixels.
  const size_t offset = part == ImagePart::kHeader ? 0 : 60;
  bytes.replace(header + 512 + offset, 8, "damaged!");
  return data::WriteFileAtomically(shard, bytes);
}

std::string CaptionedImagesSetting(const std::filesystem::path& folder) {
  return absl::StrCat("data.web_dataset={train: \"", folder.native(),
                      "\" min_patches: 4 max_patches: 64 end_token_id: 256}");
}

}  // namespace hetero
