#ifndef HETERO_DATA_WEBDATASET_CONTENT_H_
#define HETERO_DATA_WEBDATASET_CONTENT_H_

#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/data/tar/shard.h"
#include "hetero/data/text/conversation.h"
#include "hetero/data/webdataset/media_source.h"
#include "hetero/data/webdataset/metadata.h"

namespace hetero::data {

// An image of a sample, encoded.
struct ContentImage {
  std::string place;       // "member k.jpg", or the file and its media source, for messages
  std::string_view bytes;  // of the sample's buffer or of `file`
  std::unique_ptr<const std::string> file = nullptr;  // read from a media source
};

// What a sample says and shows, before any tokenizer or decoder.
struct SampleContent {
  // A text, or the turns of a conversation. But for captions, which are beside their image, a
  // kImageMarker stands for each image.
  std::variant<std::string, std::vector<Turn>> said;
  std::vector<ContentImage> images;  // in the order of markers
};

// A question is a user's turn: the image, unless the context has a marker for it, and the context;
// the first answer is the assistant's. The "json" of a conversation is
//   {"conversation": [{"sender": "user", "fragments": [{"t": "image", "value": "1.jpg"},
//                                                      {"t": "text", "value": "What is it?"}]},
//                     {"sender": "assistant", "fragments": [{"t": "text", "value": "A boat."}]}]}
// and a turn's fragments follow each other without anything between. The value of an image is a
// member's extension, or a file's name: of a member, of a file of `media`, if that is not nullptr,
// or, where no file is called that, one whose extension is that of a member.
// Errors: DATA_LOSS naming the member, the place in it and the rule: what is missing, a turn that
// CheckTurn refuses, or texts with other than one marker for each image; those of `media`.
absl::StatusOr<SampleContent> ReadContent(const RawSample& sample, const SampleFields& fields,
                                          const MediaSource* media);

}  // namespace hetero::data

#endif  // HETERO_DATA_WEBDATASET_CONTENT_H_
