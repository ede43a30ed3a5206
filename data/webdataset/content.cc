#include "hetero/data/webdataset/content.h"

#include <cstddef>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "hetero/base/status.h"
#include "hetero/data/webdataset/field.h"
#include "nlohmann/json.hpp"

namespace hetero::data {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kConversationMember = "json";

absl::Status Wrong(std::string_view what) { return absl::DataLossError(what); }

std::string PlaceOf(const RawSample& sample, const RawSample::Part& part) {
  return absl::StrCat("member ", sample.key, ".", part.extension);
}

ContentImage ImageOf(const RawSample& sample, const RawSample::Part& part) {
  return {.place = PlaceOf(sample, part), .bytes = part.bytes};
}

size_t NumMarkers(std::string_view text) {
  size_t count = 0;
  for (size_t at = text.find(kImageMarker); at != text.npos;
       at = text.find(kImageMarker, at + kImageMarker.size())) {
    ++count;
  }
  return count;
}

absl::Status CheckMarkers(size_t num_markers, size_t num_images) {
  if (num_markers == num_images) return absl::OkStatus();
  return Wrong(absl::StrFormat("its text has %d times %s, it has %d images", num_markers,
                               kImageMarker, num_images));
}

absl::StatusOr<SampleContent> Read(const RawSample& sample, const CaptioningFields& fields,
                                   const MediaSource*) {
  SampleContent content;
  HETERO_ASSIGN_OR_RETURN(content.said, ReadText(sample, fields.caption));
  HETERO_ASSIGN_OR_RETURN(const RawSample::Part* image, SelectPart(sample, fields.image));
  content.images.push_back(ImageOf(sample, *image));
  return content;
}

absl::StatusOr<SampleContent> Read(const RawSample& sample, const TextFields& fields,
                                   const MediaSource*) {
  HETERO_ASSIGN_OR_RETURN(std::string text, ReadText(sample, fields.text));
  if (text.empty()) return Wrong("its text is empty");
  HETERO_RETURN_IF_ERROR(CheckMarkers(NumMarkers(text), 0));
  return SampleContent{.said = std::move(text), .images = {}};
}

absl::StatusOr<SampleContent> Read(const RawSample& sample, const QuestionFields& fields,
                                   const MediaSource*) {
  SampleContent content;
  HETERO_ASSIGN_OR_RETURN(const RawSample::Part* image, SelectPart(sample, fields.image));
  content.images.push_back(ImageOf(sample, *image));
  HETERO_ASSIGN_OR_RETURN(std::string context, ReadText(sample, fields.context));
  HETERO_ASSIGN_OR_RETURN(std::string answer, ReadText(sample, fields.answers));
  if (!absl::StrContains(context, kImageMarker))
    context.insert(0, absl::StrCat(kImageMarker, "\n"));
  HETERO_RETURN_IF_ERROR(CheckMarkers(NumMarkers(context), 1));
  std::vector<Turn> turns = {{.role = "user", .content = std::move(context)},
                             {.role = "assistant", .content = std::move(answer)}};
  for (const Turn& turn : turns) HETERO_RETURN_IF_ERROR(CheckTurn(turn)).With(turn.role);
  content.said = std::move(turns);
  return content;
}

// The text at `name` of an object, nullptr where there is none.
const std::string* TextOf(const Json& object, std::string_view name) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(name);
  if (found == object.end()) return nullptr;
  return found->get_ptr<const std::string*>();
}

const Json* ListOf(const Json& object, std::string_view name) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(name);
  return found != object.end() && found->is_array() ? &*found : nullptr;
}

class ConversationReader {
 public:
  ConversationReader(const RawSample& sample, const MediaSource* media)
      : sample_(sample), media_(media) {}

  absl::StatusOr<SampleContent> Read(std::string_view bytes) && {
    const Json root = Json::parse(bytes, nullptr, /*allow_exceptions=*/false);
    if (root.is_discarded()) return Wrong("is not valid JSON");
    const Json* const list = ListOf(root, "conversation");
    if (list == nullptr || list->empty()) return Wrong("has no list \"conversation\" of turns");
    std::vector<Turn> turns;
    size_t num_markers = 0;
    for (size_t i = 0; i < list->size(); ++i) {
      const std::string place = absl::StrFormat("conversation[%d]", i);
      absl::StatusOr<Turn> turn = ReadTurn((*list)[i]);
      HETERO_RETURN_IF_ERROR(turn.status()).With(place);
      num_markers += NumMarkers(turn->content);
      turns.push_back(*std::move(turn));
    }
    HETERO_RETURN_IF_ERROR(CheckMarkers(num_markers, images_.size()));
    return SampleContent{.said = std::move(turns), .images = std::move(images_)};
  }

 private:
  absl::StatusOr<Turn> ReadTurn(const Json& json) {
    const std::string* const sender = TextOf(json, "sender");
    const Json* const fragments = ListOf(json, "fragments");
    if (sender == nullptr || fragments == nullptr) {
      return Wrong("must have a text \"sender\" and a list \"fragments\"");
    }
    Turn turn = {.role = *sender, .content = {}};
    for (size_t i = 0; i < fragments->size(); ++i) {
      HETERO_RETURN_IF_ERROR(AddFragment((*fragments)[i], turn.content))
          .With(absl::StrFormat("fragments[%d]", i));
    }
    HETERO_RETURN_IF_ERROR(CheckTurn(turn));
    return turn;
  }

  absl::Status AddFragment(const Json& json, std::string& content) {
    const std::string* const type = TextOf(json, "t");
    const std::string* const value = TextOf(json, "value");
    if (type == nullptr || value == nullptr) return Wrong("must have texts \"t\" and \"value\"");
    if (*type == "text") {
      content.append(*value);
      return absl::OkStatus();
    }
    if (*type != "image") {
      return Wrong(absl::StrCat("is of type \"", *type, "\", must be \"image\" or \"text\""));
    }
    HETERO_RETURN_IF_ERROR(AddImage(*value));
    content.append(kImageMarker);
    return absl::OkStatus();
  }

  absl::Status AddImage(std::string_view value) {
    const RawSample::Part* part = FindNamed(value);
    if (part == nullptr && media_ != nullptr) {
      auto file = std::make_unique<std::string>();
      HETERO_ASSIGN_OR_RETURN(const bool found, media_->Read(value, *file));
      if (found) {
        const std::string_view bytes = *file;
        images_.push_back({.place = absl::StrCat("image \"", value, "\" of media source ",
                                                 media_->reference().ToString()),
                           .bytes = bytes,
                           .file = std::move(file)});
        return absl::OkStatus();
      }
    }
    if (part == nullptr) {
      HETERO_ASSIGN_OR_RETURN(part, FindAlike(value));
    }
    images_.push_back(ImageOf(sample_, *part));
    taken_.push_back({.part = part, .value = std::string(value)});
    return absl::OkStatus();
  }

  // The member with this extension or name, nullptr where there is none.
  const RawSample::Part* FindNamed(std::string_view value) const {
    if (const RawSample::Part* part = sample_.Find(value)) return part;
    const bool is_of_sample =
        absl::ConsumePrefix(&value, sample_.key) && absl::ConsumePrefix(&value, ".");
    return is_of_sample ? sample_.Find(value) : nullptr;
  }

  // The member with the extension of another file.
  absl::StatusOr<const RawSample::Part*> FindAlike(std::string_view value) const {
    const std::string_view name = value.substr(value.rfind('/') + 1);
    const size_t dot = name.find('.');
    const RawSample::Part* const part =
        dot == name.npos ? nullptr : sample_.Find(name.substr(dot + 1));
    if (part == nullptr) {
      const std::string beside = media_ == nullptr
                                     ? " is; no media source is given where it may lie instead "
                                       "(--media_source of //tools:dataset_check, aux of a "
                                       "metadataset)"
                                     : absl::StrCat(" and no file of media source ",
                                                    media_->reference().ToString(), " is");
      return Wrong(
          absl::StrCat("names the image \"", value, "\", which no member of the sample", beside));
    }
    // By its extension alone a member would be taken for any number of files.
    for (const auto& [taken, by] : taken_) {
      if (taken != part || by == value) continue;
      return Wrong(absl::StrCat("names the image \"", value, "\", and the ",
                                PlaceOf(sample_, *part), " is taken for \"", by, "\""));
    }
    return part;
  }

  const RawSample& sample_;
  const MediaSource* media_;
  std::vector<ContentImage> images_;

  struct Taken {
    const RawSample::Part* part = nullptr;
    std::string value;  // that named it
  };
  std::vector<Taken> taken_;
};

absl::StatusOr<SampleContent> Read(const RawSample& sample, const ConversationFields&,
                                   const MediaSource* media) {
  HETERO_ASSIGN_OR_RETURN(const RawSample::Part* part, SelectPart(sample, kConversationMember));
  absl::StatusOr<SampleContent> content = ConversationReader(sample, media).Read(part->bytes);
  HETERO_RETURN_IF_ERROR(content.status()).With(PlaceOf(sample, *part));
  return content;
}

}  // namespace

absl::StatusOr<SampleContent> ReadContent(const RawSample& sample, const SampleFields& fields,
                                          const MediaSource* media) {
  absl::StatusOr<SampleContent> content =
      std::visit([&](const auto& of) { return Read(sample, of, media); }, fields);
  // What is no valid turn is damage here; storage that fails is none.
  if (!absl::IsInvalidArgument(content.status())) return content;
  return absl::DataLossError(content.status().message());
}

}  // namespace hetero::data
