"""Writes image_fixtures.h: small files made and decoded by Pillow (12.3.0 was used).

    python3 testdata.py > image_fixtures.h
"""
import io
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


def emit(name, image, **save):
    file = io.BytesIO()
    image.save(file, **save)
    data = file.getvalue()
    again = Image.open(io.BytesIO(data))
    again.load()
    rgb = again.convert("RGB").tobytes()
    small = again.resize((11, 7), Image.BICUBIC).convert("RGB").tobytes()
    rows = [data[i:i + 24] for i in range(0, len(data), 24)]
    text = "\n".join('    "' + "".join("\\x%02x" % b for b in row) + '"' for row in rows)
    print(f"inline constexpr Fixture {name} = {{\n    std::string_view(\n{text},\n    {len(data)}),\n"
          f"    ImageSize{{{image.height}, {image.width}}}, 0x{zlib.crc32(rgb):08x}, 0x{zlib.crc32(small):08x}}};\n")


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
print("""// clang-format on

}  // namespace hetero::data

#endif  // HETERO_DATA_IMAGE_IMAGE_FIXTURES_H_""")
