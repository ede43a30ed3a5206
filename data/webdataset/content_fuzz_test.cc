// Any bytes as the JSON of a sample: what is read has a marker for each image, or it is an error.

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/statusor.h"
#include "hetero/data/tar/shard.h"
#include "hetero/data/text/conversation.h"
#include "hetero/data/webdataset/content.h"
#include "hetero/data/webdataset/metadata.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hetero::data;  // NOLINT: the function lives outside the namespace
  RawSample sample;
  sample.shard = "a.tar";
  sample.key = "k";
  sample.parts = {{"json", std::string_view(reinterpret_cast<const char*>(data), size)},
                  {"0.jpg", ""},
                  {"jpg", ""}};
  const absl::StatusOr<SampleContent> content = ReadContent(sample, ConversationFields(), nullptr);
  if (content.ok()) {
    size_t num_markers = 0;
    for (const Turn& turn : std::get<std::vector<Turn>>(content->said)) {
      for (size_t at = turn.content.find(kImageMarker); at != turn.content.npos;
           at = turn.content.find(kImageMarker, at + 1)) {
        ++num_markers;
      }
    }
    CHECK_EQ(num_markers, content->images.size());
  }
  const QuestionFields question = {
      .image = "jpg", .context = "json[question]", .answers = "json[answers]"};
  if (const auto asked = ReadContent(sample, question, nullptr); asked.ok()) {
    CHECK_EQ(asked->images.size(), 1u);
  }
  ReadContent(sample, TextFields{.text = "json[turns][0][0][q]"}, nullptr).IgnoreError();
  return 0;
}
