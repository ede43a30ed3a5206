#include "hetero/trainer/report/picture.h"

#include <regex>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/trainer/step/testing/bare_plan.h"

namespace hetero {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

// What keeps `text` from being a well-formed document of elements, attributes and text; empty for
// one that is.
std::string XmlFault(std::string_view text) {
  static const std::regex kTag(
      R"re(<(\?xml [^<>]*\?|/[a-z]+|[a-z]+( [a-zA-Z-]+="[^"<>&]*")*/?)>)re");
  static const std::regex kText(R"re(([^<>&]|&(amp|lt|gt|quot|apos);)*)re");
  std::vector<std::string> open;
  bool has_root = false;
  while (!text.empty()) {
    std::match_results<std::string_view::const_iterator> match;
    if (text.front() != '<') {
      const std::string_view words = text.substr(0, text.find('<'));
      if (!std::regex_match(words.begin(), words.end(), kText)) return std::string(words);
      text.remove_prefix(words.size());
      continue;
    }
    if (!std::regex_search(text.begin(), text.end(), match, kTag,
                           std::regex_constants::match_continuous)) {
      return std::string(text.substr(0, 100));
    }
    std::string tag = match[1].str();
    text.remove_prefix(match[0].length());
    if (tag.front() == '?' || tag.back() == '/') continue;
    if (tag.front() == '/') {
      if (open.empty() || open.back() != tag.substr(1)) return absl::StrCat("closes ", tag);
      open.pop_back();
      continue;
    }
    if (open.empty() && has_root) return "a second root";
    has_root = true;
    open.push_back(tag.substr(0, tag.find(' ')));
  }
  return open.empty() ? "" : absl::StrCat("leaves open ", open.back());
}

// Tooltips of the elements `element`.
std::vector<std::string> Hints(const std::string& svg, std::string_view element) {
  std::vector<std::string> hints;
  const std::regex pattern(absl::StrCat("<", element, " [^<>]*><title>([^<>]*)</title>"));
  for (std::sregex_iterator it(svg.begin(), svg.end(), pattern), end; it != end; ++it) {
    hints.push_back((*it)[1]);
  }
  return hints;
}

std::vector<std::string> RankBoxes(const std::string& svg) {
  std::vector<std::string> boxes = Hints(svg, "rect");
  std::erase_if(boxes, [](const std::string& hint) { return absl::StartsWith(hint, "node"); });
  return boxes;
}

std::string Draw(const BarePlan& bare) { return DrawLayout(bare.layout, bare.plan); }

BarePlan Vision(GridSpec vision, GridSpec language, int64_t world_size) {
  vision.name = "vision";
  language.name = "language";
  return MakeBarePlan({vision, language}, {{"vision", "language"}}, world_size);
}

TEST(PictureTest, EveryRankHasABoxInItsStageAndEveryEdgeItsArrows) {
  const std::string svg =
      Draw(Vision({.num_ranks = 2}, {.num_ranks = 2, .pp = 2, .rank_offset = 2}, 4));
  EXPECT_EQ(XmlFault(svg), "");
  EXPECT_THAT(RankBoxes(svg), UnorderedElementsAre("rank 0: vision stage 0, lane 0, node 0",
                                                   "rank 1: vision stage 0, lane 1, node 0",
                                                   "rank 2: language stage 0, lane 0, node 0",
                                                   "rank 3: language stage 1, lane 0, node 0"));
  EXPECT_THAT(Hints(svg, "path"), UnorderedElementsAre("vision.0-language.0, lane 0 to lane 0",
                                                       "vision.0-language.0, lane 1 to lane 0",
                                                       "language.0-language.1, lane 0 to lane 0"));
  EXPECT_THAT(svg, HasSubstr(">4 ranks on 1 node</text>"));
}

TEST(PictureTest, RanksOfTwoModulesAreInBoth) {
  const std::string svg = Draw(Vision({.num_ranks = 2}, {.num_ranks = 2, .pp = 2}, 2));
  EXPECT_EQ(XmlFault(svg), "");
  EXPECT_THAT(RankBoxes(svg), UnorderedElementsAre("rank 0: vision stage 0, lane 0, node 0",
                                                   "rank 1: vision stage 0, lane 1, node 0",
                                                   "rank 0: language stage 0, lane 0, node 0",
                                                   "rank 1: language stage 1, lane 0, node 0"));
  EXPECT_THAT(svg, HasSubstr("2 ranks on 1 node, each with a stage of every module"));
}

// Ranks of a lane are in one box, and ranks that share a node in one outline.
TEST(PictureTest, NodesAreEightRanks) {
  const std::string svg =
      Draw(Vision({.num_ranks = 12, .tp = 2}, {.num_ranks = 4, .tp = 4, .rank_offset = 12}, 16));
  EXPECT_THAT(RankBoxes(svg), Contains("2 ranks, 8-9: vision stage 0, lane 4, node 1"));
  std::vector<std::string> outlines = Hints(svg, "rect");
  std::erase_if(outlines, [](const std::string& hint) { return !absl::StartsWith(hint, "node"); });
  EXPECT_THAT(outlines, ElementsAre("node 0", "node 1", "node 1"));
}

// Lanes beyond the first whole blocks are one box with one arrow.
TEST(PictureTest, ManyLanesAreOneBoxThatCountsThem) {
  const std::string svg =
      Draw(Vision({.num_ranks = 480}, {.num_ranks = 320, .rank_offset = 480}, 800));
  EXPECT_EQ(XmlFault(svg), "");
  // Two blocks of three and two lanes.
  EXPECT_THAT(RankBoxes(svg), SizeIs(6 + 1 + 4 + 1));
  EXPECT_THAT(RankBoxes(svg),
              IsSupersetOf({"474 ranks, 6-479: vision stage 0, lanes 6-479, nodes 0-59",
                            "316 ranks, 484-799: language stage 0, lanes 4-319, nodes 60-99"}));
  EXPECT_THAT(Hints(svg, "path"), SizeIs(4 + 4 + 1));
  EXPECT_THAT(Hints(svg, "path"), Contains("vision.0-language.0, lanes 6-479 to lanes 4-319"));
}

TEST(PictureTest, ItsSizeIsBoundedHoweverManyRanksAndStages) {
  for (const auto& [lanes, stages] : {std::pair(10240, 1), {1, 10240}, {100, 100}}) {
    SCOPED_TRACE(absl::StrCat(lanes, " lanes of ", stages, " stages"));
    const std::string svg =
        Draw(Vision({.num_ranks = 5}, {.num_ranks = lanes * stages, .pp = stages, .rank_offset = 5},
                    5 + lanes * stages));
    EXPECT_EQ(XmlFault(svg), "");
    EXPECT_LT(svg.size(), 100'000);
  }
}

TEST(PictureTest, EveryEncoderFeedsTheLanguageModel) {
  const std::string svg =
      Draw(MakeBarePlan({{.name = "image", .num_ranks = 2, .pp = 2},
                         {.name = "audio", .num_ranks = 1, .rank_offset = 2},
                         {.name = "language", .num_ranks = 1, .rank_offset = 3}},
                        {{"image", "language"}, {"audio", "language"}}, 4));
  EXPECT_THAT(Hints(svg, "path"), UnorderedElementsAre("image.0-image.1, lane 0 to lane 0",
                                                       "image.1-language.0, lane 0 to lane 0",
                                                       "audio.0-language.0, lane 0 to lane 0"));
}

TEST(PictureTest, NamesAreEscaped) {
  const std::string name = "a<b> & \"c\" 'd'\n";
  const std::string svg = Draw(MakeBarePlan(
      {{.name = name, .num_ranks = 1}, {.name = "language", .num_ranks = 1, .rank_offset = 1}},
      {{name, "language"}}, 2));
  EXPECT_EQ(XmlFault(svg), "");
  EXPECT_THAT(svg, HasSubstr(">a&lt;b&gt; &amp; &quot;c&quot; &apos;d&apos; </text>"));
}

TEST(XmlFaultTest, FindsWhatIsNoDocument) {
  EXPECT_THAT(XmlFault("<a b=\"1\"><c/>x &amp; y</a>"), IsEmpty());
  for (std::string_view text : {"<a>", "<a></b>", "<a b=1/>", "<a>x & y</a>", "<a/><b></a>"}) {
    EXPECT_THAT(XmlFault(text), Not(IsEmpty())) << text;
  }
}

}  // namespace
}  // namespace hetero
