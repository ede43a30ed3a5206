#include "hetero/data/image/png.h"

#include <png.h>
#include <zlib.h>

#include <algorithm>
#include <csetjmp>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "hetero/base/out_of_memory.h"
#include "hetero/base/status.h"

namespace hetero::data::internal {
namespace {

constexpr std::string_view kSignature("\x89PNG\r\n\x1a\n", 8);

uint32_t BigEndian32(const char* bytes) {
  const auto* b = reinterpret_cast<const unsigned char*>(bytes);
  return uint32_t{b[0]} << 24 | uint32_t{b[1]} << 16 | uint32_t{b[2]} << 8 | uint32_t{b[3]};
}

// What libpng's callbacks share with the caller. Functions that set a jump target keep only
// trivially destructible locals: a longjmp runs no destructors.
struct Shared {
  char error[160] = "";
  bool out_of_memory = false;
  size_t largest_allocation = SIZE_MAX;
};

// To libpng an allocation that fails is an error like those of the file, or a chunk to pass over.
png_voidp AllocateBytes(png_structp png, png_alloc_size_t size) {
  auto* shared = static_cast<Shared*>(png_get_mem_ptr(png));
  if (size > shared->largest_allocation) return nullptr;
  void* const bytes = std::malloc(size);
  if (bytes == nullptr) shared->out_of_memory = true;
  return bytes;
}

void FreeBytes(png_structp, png_voidp bytes) { std::free(bytes); }

[[noreturn]] void OnError(png_structp png, png_const_charp message) {
  auto* shared = static_cast<Shared*>(png_get_error_ptr(png));
  std::strncpy(shared->error, message, sizeof shared->error - 1);
  png_longjmp(png, 1);
}

void OnWarning(png_structp, png_const_charp) {}

struct Input {
  std::string_view left;
};

void ReadBytes(png_structp png, png_bytep out, size_t size) {
  auto* input = static_cast<Input*>(png_get_io_ptr(png));
  if (size > input->left.size()) png_error(png, "the file ends early");
  std::memcpy(out, input->left.data(), size);
  input->left.remove_prefix(size);
}

struct Layout {
  ImageSize size;
  int channels = 0;
  size_t row_bytes = 0;
  bool nearest = false;
};

// Reads the header and asks libpng for 8-bit samples, 16-bit ones of grey, without applying
// transparency.
bool ReadLayout(png_structp png, png_infop info, Layout* layout) {
  if (setjmp(png_jmpbuf(png))) return false;
  png_read_info(png, info);
  const int depth = png_get_bit_depth(png, info);
  const int color = png_get_color_type(png, info);
  layout->size = {.height = static_cast<int>(png_get_image_height(png, info)),
                  .width = static_cast<int>(png_get_image_width(png, info))};
  layout->nearest = color == PNG_COLOR_TYPE_PALETTE || (color == PNG_COLOR_TYPE_GRAY && depth == 1);
  const bool is_deep_grey = color == PNG_COLOR_TYPE_GRAY && depth == 16;
  if (is_deep_grey) {
    png_set_swap(png);  // the low byte first
  } else {
    png_set_strip_16(png);
  }
  if (color == PNG_COLOR_TYPE_PALETTE) {
    png_set_palette_to_rgb(png);
  } else if (color == PNG_COLOR_TYPE_GRAY && depth < 8) {
    png_set_expand_gray_1_2_4_to_8(png);
  } else if (color == PNG_COLOR_TYPE_GRAY_ALPHA) {
    png_set_gray_to_rgb(png);
  }
  // libpng turns a transparency chunk into alpha together with the palette; drop it again.
  if (color != PNG_COLOR_TYPE_RGB_ALPHA && color != PNG_COLOR_TYPE_GRAY_ALPHA) {
    png_set_strip_alpha(png);
  }
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
  layout->channels = png_get_channels(png, info) * (is_deep_grey ? 2 : 1);
  layout->row_bytes = png_get_rowbytes(png, info);
  return true;
}

bool ReadRows(png_structp png, uint8_t** rows) {
  if (setjmp(png_jmpbuf(png))) return false;
  png_read_image(png, rows);
  png_read_end(png, nullptr);
  return true;
}

void AppendBytes(png_structp png, png_bytep bytes, size_t size) {
  auto* out = static_cast<std::string*>(png_get_io_ptr(png));
  out->append(reinterpret_cast<const char*>(bytes), size);
}

bool WriteImage(png_structp png, png_infop info, const Image& image, int color, uint8_t** rows) {
  if (setjmp(png_jmpbuf(png))) return false;
  png_set_IHDR(png, info, static_cast<png_uint_32>(image.size.width),
               static_cast<png_uint_32>(image.size.height), 8, color, PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_write_info(png, info);
  png_write_image(png, rows);
  png_write_end(png, info);
  return true;
}

std::vector<uint8_t*> RowPointers(uint8_t* pixels, int height, size_t row_bytes) {
  std::vector<uint8_t*> rows(static_cast<size_t>(height));
  for (size_t y = 0; y < rows.size(); ++y) rows[y] = pixels + y * row_bytes;
  return rows;
}

absl::Status Damaged(const Shared& shared) {
  if (shared.out_of_memory) return OutOfMemoryError("PNG: no memory for the decoder");
  return absl::DataLossError(absl::StrCat("PNG: ", shared.error));
}

// More than libpng takes at once for a file whose chunks are as long as they say: it takes memory
// for a chunk before it reads it.
size_t LargestAllocation(std::string_view bytes, const ImageSize& size) {
  constexpr size_t kState = 1 << 20;
  constexpr size_t kPixelBytes = 8;  // four samples of 16 bits
  return kState + std::max(bytes.size(), static_cast<size_t>(size.width) * kPixelBytes);
}

}  // namespace

bool IsPng(std::string_view bytes) { return bytes.starts_with(kSignature); }

absl::StatusOr<ImageSize> ProbePng(std::string_view bytes) {
  constexpr size_t kChunk = 8;  // length and type follow the signature
  constexpr size_t kData = kChunk + 8;
  constexpr size_t kCrc = kData + 13;
  if (bytes.size() < kCrc + 4) return absl::DataLossError("PNG: the file ends in its header");
  if (BigEndian32(bytes.data() + kChunk) != 13 || bytes.substr(kChunk + 4, 4) != "IHDR") {
    return absl::DataLossError("PNG: the first chunk is not IHDR");
  }
  const auto* checked = reinterpret_cast<const Bytef*>(bytes.data() + kChunk + 4);
  if (crc32(0, checked, 4 + 13) != BigEndian32(bytes.data() + kCrc)) {
    return absl::DataLossError("PNG: the header's checksum is wrong");
  }
  const uint32_t width = BigEndian32(bytes.data() + kData);
  const uint32_t height = BigEndian32(bytes.data() + kData + 4);
  if (width > INT32_MAX || height > INT32_MAX) {
    return absl::DataLossError(absl::StrFormat("PNG: %d x %d pixels", width, height));
  }
  return ImageSize{.height = static_cast<int>(height), .width = static_cast<int>(width)};
}

absl::Status DecodePng(std::string_view bytes, Image& out) {
  HETERO_ASSIGN_OR_RETURN(const ImageSize announced, ProbePng(bytes));
  Shared shared = {.largest_allocation = LargestAllocation(bytes, announced)};
  png_structp png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, &shared, OnError, OnWarning,
                                             &shared, AllocateBytes, FreeBytes);
  if (png == nullptr) return OutOfMemoryError("PNG: no memory for the decoder");
  png_infop info = nullptr;
  const absl::Cleanup destroy = [&] { png_destroy_read_struct(&png, &info, nullptr); };
  info = png_create_info_struct(png);
  if (info == nullptr) return OutOfMemoryError("PNG: no memory for the decoder");
  Input input{bytes};
  png_set_read_fn(png, &input, ReadBytes);
  png_set_chunk_malloc_max(png, bytes.size());  // of what is unpacked
  Layout layout;
  if (!ReadLayout(png, info, &layout)) return Damaged(shared);
  out.Reshape(layout.size, layout.channels);
  out.nearest = layout.nearest;
  std::vector<uint8_t*> rows = RowPointers(out.pixels.data(), layout.size.height, layout.row_bytes);
  if (!ReadRows(png, rows.data())) return Damaged(shared);
  return absl::OkStatus();
}

absl::StatusOr<std::string> EncodePng(const Image& image, int compression) {
  const int color = image.channels == 1   ? PNG_COLOR_TYPE_GRAY
                    : image.channels == 3 ? PNG_COLOR_TYPE_RGB
                                          : PNG_COLOR_TYPE_RGB_ALPHA;
  Shared shared;
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &shared, OnError, OnWarning);
  if (png == nullptr) return OutOfMemoryError("PNG: no memory for the encoder");
  png_infop info = nullptr;
  const absl::Cleanup destroy = [&] { png_destroy_write_struct(&png, &info); };
  info = png_create_info_struct(png);
  if (info == nullptr) return OutOfMemoryError("PNG: no memory for the encoder");
  std::string bytes;
  png_set_write_fn(png, &bytes, AppendBytes, nullptr);
  png_set_compression_level(png, compression);
  // libpng reads the rows only; its interface has no const.
  std::vector<uint8_t*> rows =
      RowPointers(const_cast<uint8_t*>(image.pixels.data()), image.size.height,
                  static_cast<size_t>(image.size.width) * image.channels);
  if (!WriteImage(png, info, image, color, rows.data())) {
    return absl::InvalidArgumentError(absl::StrCat("PNG: ", shared.error));
  }
  return bytes;
}

}  // namespace hetero::data::internal
