#ifndef HETERO_TRAINER_REPORT_SVG_H_
#define HETERO_TRAINER_REPORT_SVG_H_

// Writes drawings as SVG 1.1 (W3C, 2011): boxes, lines and text on a light ground.

#include <string>
#include <string_view>

namespace hetero {

// `text` as it stands in an element or in a quoted attribute.
std::string EscapeXml(std::string_view text);

// Pixels that `text` takes at most in `font_size`. Renderers have other fonts: it is an estimate,
// on the safe side.
double TextWidth(std::string_view text, double font_size);

struct SvgPoint {
  double x = 0;
  double y = 0;
};

struct SvgBox {
  double x = 0;
  double y = 0;
  double width = 0;
  double height = 0;

  double right() const { return x + width; }
  double bottom() const { return y + height; }
  double middle() const { return y + height / 2; }
};

struct SvgPaint {
  std::string_view fill = "none";
  std::string_view stroke = "none";
  double stroke_width = 1;
  bool dashed = false;
};

struct SvgFont {
  double size = 12;
  std::string_view color = "#1f2937";
  std::string_view anchor = "start";  // or "middle", "end": what of the text is at its point
  bool bold = false;
};

// Things drawn later lie above. Coordinates are pixels, y downwards.
class Svg {
 public:
  // `hint`: what a browser shows while the mouse is over the box; may be empty.
  void AddBox(const SvgBox& box, double corner_radius, const SvgPaint& paint,
              std::string_view hint = "");
  // `at`: of the baseline.
  void AddText(SvgPoint at, std::string_view text, const SvgFont& font);
  // A line that leaves and arrives horizontally, with an arrowhead at its end and, where
  // `both_ways`, one at its beginning.
  void AddArrow(SvgPoint from, SvgPoint to, std::string_view color, double width, bool both_ways,
                std::string_view hint = "");

  // The document, as large as what was drawn and a margin.
  std::string Finish(std::string_view title) const;

 private:
  void Cover(double x, double y);

  std::string body_;
  double width_ = 0;
  double height_ = 0;
};

}  // namespace hetero

#endif  // HETERO_TRAINER_REPORT_SVG_H_
