"""Writes image_fixtures.h: small files made and decoded by Pillow (12.3.0 was used).

    python3 testdata.py > image_fixtures.h
"""
import io
import struct
import zlib

import PIL
from PIL import Image


def lcg(size):
    x, out = 1, bytearray()
    for _ in range(size):
        x = (x * 1103515245 + 12345) % 2**31
        out.append((x >> 16) & 255)
    return bytes(out)


def smooth(width, height):
    return bytes(v for y in range(height) for x in range(width)
                 for v in ((x * 9 + y * 3) % 256, (y * 11 + x) % 256, (x * y) % 256))


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, color, samples, extra=b""):
    """A PNG of a kind that Pillow reads and does not write; `samples` are whole rows."""
    row = len(samples) // height
    lines = b"".join(b"\0" + samples[y * row:(y + 1) * row] for y in range(height))
    return (b"\x89PNG\r\n\x1a\n" +
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)) + extra +
            chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b""))


def emit(name, image, **save):
    file = io.BytesIO()
    image.save(file, **save)
    emit_file(name, file.getvalue())


def literal(data):
    rows = [data[i:i + 24] for i in range(0, len(data), 24)]
    text = "\n".join('    "' + "".join("\\x%02x" % b for b in row) + '"' for row in rows)
    return f"std::string_view(\n{text},\n    {len(data)})"


def emit_bytes(name, data):
    print(f"inline constexpr std::string_view {name} =\n    {literal(data)};\n")


def emit_file(name, data):
    again = Image.open(io.BytesIO(data))
    again.load()
    rgb = again.convert("RGB").tobytes()
    small = again.resize((11, 7), Image.BICUBIC).convert("RGB").tobytes()
    print(f"inline constexpr Fixture {name} = {{\n    {literal(data)},\n"
          f"    ImageSize{{{again.height}, {again.width}}}, 0x{zlib.crc32(rgb):08x}, 0x{zlib.crc32(small):08x}}};\n")


rgb = Image.frombytes("RGB", (19, 13), smooth(19, 13))
grey = rgb.convert("L")
rgba = Image.frombytes("RGBA", (9, 8), lcg(9 * 8 * 4))
print(f"""#ifndef HETERO_DATA_IMAGE_IMAGE_FIXTURES_H_
#define HETERO_DATA_IMAGE_IMAGE_FIXTURES_H_

// Made by testdata.py with Pillow {PIL.__version__}; do not edit.

#include <cstdint>
#include <string_view>

#include "hetero/data/image/image.h"

namespace hetero::data {{

struct Fixture {{
  std::string_view file;
  ImageSize size;
  uint32_t rgb_crc;    // zlib crc32 of Image.convert("RGB")
  uint32_t small_crc;  // of Image.resize((11, 7), BICUBIC).convert("RGB")
}};

// clang-format off""")
emit("kPngRgb", rgb, format="PNG")
emit("kPngGrey", grey, format="PNG")
emit("kPngAlpha", rgba, format="PNG")
emit("kPngGreyAlpha", rgba.convert("LA"), format="PNG")
emit("kPngPalette", rgb.quantize(7), format="PNG")
emit("kPngBits", grey.convert("1"), format="PNG")
emit("kJpeg420", rgb, format="JPEG", quality=80, subsampling=2)
emit("kJpegProgressive", rgb, format="JPEG", quality=90, subsampling=0, progressive=True)
emit("kJpegGrey", grey, format="JPEG", quality=70)
emit("kJpegCmyk", rgb.convert("CMYK"), format="JPEG", quality=70)
emit_file("kPngGrey16", png(7, 5, 16, 0, lcg(7 * 5 * 2)))
# Values around 255, where the result is clipped.
emit_file("kPngDimGrey16", png(7, 5, 16, 0, b"".join(
    struct.pack(">H", (x * 37 + y * 53) % 400) for y in range(5) for x in range(7))))
emit_file("kPngRgb16", png(7, 5, 16, 2, lcg(7 * 5 * 6)))
emit_file("kPngRgba16", png(5, 4, 16, 6, lcg(5 * 4 * 8)))
emit_file("kPngGreyAlpha16", png(5, 4, 16, 4, lcg(5 * 4 * 4)))
emit_file("kPngGrey4", png(14, 9, 4, 0, lcg(7 * 9)))
emit_file("kPngGrey2", png(12, 9, 2, 0, lcg(3 * 9)))
emit_file("kPngClearPalette", png(8, 6, 2, 3, lcg(2 * 6), chunk(b"PLTE", lcg(12)) +
                                  chunk(b"tRNS", bytes([0, 128, 255, 7]))))
exif = Image.Exif()
exif[0x0112] = 6  # turned by 90 degrees
emit("kJpegTurned", rgb, format="JPEG", quality=70, exif=exif)
emit("kWebpLossy", rgb, format="WEBP", quality=80)
emit("kWebpLossless", rgb, format="WEBP", lossless=True)
emit("kWebpAlpha", rgba, format="WEBP", quality=70)
emit("kWebpLosslessAlpha", rgba, format="WEBP", lossless=True)
animation = io.BytesIO()
rgb.save(animation, format="WEBP", save_all=True, append_images=[rgb.rotate(180)], duration=100)
emit_bytes("kWebpAnimation", animation.getvalue())
print("""// clang-format on

}  // namespace hetero::data

#endif  // HETERO_DATA_IMAGE_IMAGE_FIXTURES_H_""")
