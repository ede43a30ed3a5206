#include "hetero/data/image/jpeg.h"

#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <cstdio>
// libjpeg's header needs size_t and FILE declared before it.
#include <jerror.h>
#include <jpeglib.h>

#include "absl/strings/str_cat.h"
#include "hetero/base/out_of_memory.h"

namespace hetero::data::internal {
namespace {

// First member is libjpeg's own, so that its callbacks can find the rest.
struct ErrorManager {
  jpeg_error_mgr base;
  std::jmp_buf jump;
  char text[JMSG_LENGTH_MAX];
  bool ended_early;
  bool out_of_memory;
};

ErrorManager* Manager(j_common_ptr info) { return reinterpret_cast<ErrorManager*>(info->err); }

[[noreturn]] void OnError(j_common_ptr info) {
  info->err->format_message(info, Manager(info)->text);
  Manager(info)->out_of_memory = info->err->msg_code == JERR_OUT_OF_MEMORY;
  std::longjmp(Manager(info)->jump, 1);
}

// Damage inside the scan decodes to something, as in Pillow; only an early end is a failure.
void OnMessage(j_common_ptr info, int level) {
  if (level < 0 && info->err->msg_code == JWRN_JPEG_EOF) Manager(info)->ended_early = true;
}

void PrepareErrors(jpeg_decompress_struct* info, ErrorManager* errors) {
  info->err = jpeg_std_error(&errors->base);
  errors->base.error_exit = OnError;
  errors->base.emit_message = OnMessage;
}

// Functions that set a jump target keep only trivially destructible locals: a longjmp runs no
// destructors. `info` is destroyed by the caller in every case.
bool ReadHeader(jpeg_decompress_struct* info, ErrorManager* errors, const unsigned char* bytes,
                size_t size) {
  if (setjmp(errors->jump)) return false;
  jpeg_create_decompress(info);
  jpeg_mem_src(info, bytes, static_cast<unsigned long>(size));  // NOLINT: libjpeg's type
  jpeg_read_header(info, TRUE);
  return true;
}

bool Start(jpeg_decompress_struct* info, ErrorManager* errors) {
  if (setjmp(errors->jump)) return false;
  switch (info->jpeg_color_space) {
    case JCS_GRAYSCALE:
      info->out_color_space = JCS_GRAYSCALE;
      break;
    case JCS_CMYK:
    case JCS_YCCK:
      info->out_color_space = JCS_CMYK;
      break;
    default:
      info->out_color_space = JCS_RGB;
  }
  info->dct_method = JDCT_ISLOW;
  info->do_fancy_upsampling = TRUE;
  jpeg_start_decompress(info);
  return true;
}

bool ReadRows(jpeg_decompress_struct* info, ErrorManager* errors, uint8_t* pixels,
              size_t row_bytes) {
  if (setjmp(errors->jump)) return false;
  while (info->output_scanline < info->output_height) {
    JSAMPROW row = pixels + info->output_scanline * row_bytes;
    jpeg_read_scanlines(info, &row, 1);
  }
  jpeg_finish_decompress(info);
  return true;
}

class Decoder {
 public:
  explicit Decoder(std::string_view bytes) : bytes_(bytes) { PrepareErrors(&info_, &errors_); }
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;
  ~Decoder() { jpeg_destroy_decompress(&info_); }

  absl::Status ReadHeader() {
    return Check(internal::ReadHeader(
        &info_, &errors_, reinterpret_cast<const unsigned char*>(bytes_.data()), bytes_.size()));
  }

  absl::Status Decode(Image& out) {
    if (absl::Status header = ReadHeader(); !header.ok()) return header;
    if (absl::Status started = Check(Start(&info_, &errors_)); !started.ok()) return started;
    out.Reshape(size(), info_.output_components);
    const size_t row_bytes = static_cast<size_t>(out.size.width) * out.channels;
    if (absl::Status read = Check(ReadRows(&info_, &errors_, out.pixels.data(), row_bytes));
        !read.ok()) {
      return read;
    }
    if (info_.out_color_space != JCS_CMYK) return absl::OkStatus();
    // Files have paper as 255, by Adobe's convention.
    out.cmyk = true;
    for (uint8_t& ink : out.pixels) ink = static_cast<uint8_t>(255 - ink);
    return absl::OkStatus();
  }

  ImageSize size() const {
    return {.height = static_cast<int>(info_.image_height),
            .width = static_cast<int>(info_.image_width)};
  }

 private:
  absl::Status Check(bool done) const {
    if (errors_.out_of_memory) return OutOfMemoryError("JPEG: no memory for the decoder");
    if (!done) return absl::DataLossError(absl::StrCat("JPEG: ", errors_.text));
    if (errors_.ended_early) return absl::DataLossError("JPEG: the file ends early");
    return absl::OkStatus();
  }

  std::string_view bytes_;
  jpeg_decompress_struct info_ = {};
  ErrorManager errors_ = {};
};

}  // namespace

bool IsJpeg(std::string_view bytes) { return bytes.starts_with("\xff\xd8\xff"); }

absl::StatusOr<ImageSize> ProbeJpeg(std::string_view bytes) {
  Decoder decoder(bytes);
  if (absl::Status header = decoder.ReadHeader(); !header.ok()) return header;
  return decoder.size();
}

absl::Status DecodeJpeg(std::string_view bytes, Image& out) { return Decoder(bytes).Decode(out); }

}  // namespace hetero::data::internal
