#include "hetero/trainer/report/svg.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace hetero {
namespace {

constexpr double kMargin = 24;
constexpr double kArrowLength = 7;
constexpr double kArrowHalfWidth = 3.5;

// Of a letter in ems: most letters of a sans serif are narrower.
constexpr double kLetterWidth = 0.62;

// Two digits are plenty, and the same on every machine.
std::string Number(double value) { return absl::StrCat(std::round(value * 100) / 100); }

std::string PaintOf(const SvgPaint& paint) {
  return absl::StrCat(" fill=\"", paint.fill, "\" stroke=\"", paint.stroke, "\" stroke-width=\"",
                      Number(paint.stroke_width), "\"",
                      paint.dashed ? " stroke-dasharray=\"5 3\"" : "");
}

// Closes `element`, which has a tooltip unless `hint` is empty.
std::string Close(std::string_view element, std::string_view hint) {
  if (hint.empty()) return "/>\n";
  return absl::StrCat("><title>", EscapeXml(hint), "</title></", element, ">\n");
}

// An arrowhead whose point is at `tip`; `direction` is 1 for one that points to the right.
std::string Head(SvgPoint tip, double direction, std::string_view color) {
  const double back = tip.x - direction * kArrowLength;
  return absl::StrCat("<path d=\"M ", Number(tip.x), " ", Number(tip.y), " L ", Number(back), " ",
                      Number(tip.y - kArrowHalfWidth), " L ", Number(back), " ",
                      Number(tip.y + kArrowHalfWidth), " Z\" fill=\"", color, "\"/>\n");
}

}  // namespace

std::string EscapeXml(std::string_view text) {
  std::string escaped = absl::StrReplaceAll(
      text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}, {"'", "&apos;"}});
  // XML has no other control characters than white space, not even escaped.
  for (char& c : escaped) {
    if (static_cast<unsigned char>(c) < ' ') c = ' ';
  }
  return escaped;
}

double TextWidth(std::string_view text, double font_size) {
  return kLetterWidth * font_size * static_cast<double>(text.size());
}

void Svg::Cover(double x, double y) {
  width_ = std::max(width_, x);
  height_ = std::max(height_, y);
}

void Svg::AddBox(const SvgBox& box, double corner_radius, const SvgPaint& paint,
                 std::string_view hint) {
  absl::StrAppend(&body_, "<rect x=\"", Number(box.x), "\" y=\"", Number(box.y), "\" width=\"",
                  Number(box.width), "\" height=\"", Number(box.height), "\" rx=\"",
                  Number(corner_radius), "\"", PaintOf(paint), Close("rect", hint));
  Cover(box.right(), box.bottom());
}

void Svg::AddText(SvgPoint at, std::string_view text, const SvgFont& font) {
  absl::StrAppend(&body_, "<text x=\"", Number(at.x), "\" y=\"", Number(at.y), "\" font-size=\"",
                  Number(font.size), "\" fill=\"", font.color, "\" text-anchor=\"", font.anchor,
                  "\"", font.bold ? " font-weight=\"bold\"" : "", ">", EscapeXml(text),
                  "</text>\n");
  const double width = TextWidth(text, font.size);
  const double left = font.anchor == "start" ? 0 : font.anchor == "middle" ? width / 2 : width;
  Cover(at.x + width - left, at.y);
}

void Svg::AddArrow(SvgPoint from, SvgPoint to, std::string_view color, double width, bool both_ways,
                   std::string_view hint) {
  // The line ends inside the heads.
  const double begin = both_ways ? from.x + kArrowLength - 1 : from.x;
  const double end = to.x - kArrowLength + 1;
  const double bend = (end - begin) / 2;
  absl::StrAppend(&body_, "<path d=\"M ", Number(begin), " ", Number(from.y), " C ",
                  Number(begin + bend), " ", Number(from.y), " ", Number(end - bend), " ",
                  Number(to.y), " ", Number(end), " ", Number(to.y), "\"",
                  PaintOf({.stroke = color, .stroke_width = width}), Close("path", hint));
  absl::StrAppend(&body_, Head(to, 1, color));
  if (both_ways) absl::StrAppend(&body_, Head(from, -1, color));
  Cover(to.x, std::max(from.y, to.y));
}

std::string Svg::Finish(std::string_view title) const {
  const std::string width = Number(std::ceil(width_ + kMargin));
  const std::string height = Number(std::ceil(height_ + kMargin));
  return absl::StrCat(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" "
      "version=\"1.1\" width=\"",
      width, "\" height=\"", height, "\" viewBox=\"0 0 ", width, " ", height,
      "\" font-family=\"DejaVu Sans, Verdana, Helvetica, Arial, sans-serif\">\n<title>",
      EscapeXml(title), "</title>\n<rect x=\"0\" y=\"0\" width=\"", width, "\" height=\"", height,
      "\" fill=\"#ffffff\"/>\n", body_, "</svg>\n");
}

}  // namespace hetero
