#include "hetero/trainer/config/field_comments.h"

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "google/protobuf/compiler/parser.h"
#include "google/protobuf/descriptor.pb.h"
#include "google/protobuf/io/tokenizer.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "hetero/trainer/config/text_errors.h"

namespace hetero {
namespace {

namespace pb = ::google::protobuf;

// By the name that others import it with.
constexpr std::pair<std::string_view, std::string_view> kFiles[] = {
#include "trainer/config/proto_files.inc"
};

// Where a message stands in its file, as SourceCodeInfo counts.
std::vector<int> PathOf(const pb::Descriptor& message) {
  const pb::Descriptor* const outer = message.containing_type();
  std::vector<int> path;
  if (outer != nullptr) path = PathOf(*outer);
  path.push_back(outer == nullptr ? int{pb::FileDescriptorProto::kMessageTypeFieldNumber}
                                  : int{pb::DescriptorProto::kNestedTypeFieldNumber});
  path.push_back(message.index());
  return path;
}

std::string CommentAt(const pb::FileDescriptor& file, const std::vector<int>& path) {
  const auto* const found = std::ranges::find(
      kFiles, std::string_view(file.name()), &std::pair<std::string_view, std::string_view>::first);
  if (found == std::end(kFiles)) return "";
  const std::string_view text = found->second;
  pb::io::ArrayInputStream stream(text.data(), static_cast<int>(text.size()));
  FirstTextError error(text);
  pb::io::Tokenizer tokenizer(&stream, &error);
  pb::FileDescriptorProto parsed;
  if (!pb::compiler::Parser().Parse(&tokenizer, &parsed)) return "";
  for (const auto& location : parsed.source_code_info().location()) {
    if (!std::ranges::equal(location.path(), path)) continue;
    std::vector<std::string> lines;
    for (const std::string& comment : {location.leading_comments(), location.trailing_comments()}) {
      for (const std::string_view line : absl::StrSplit(comment, '\n', absl::SkipWhitespace())) {
        lines.emplace_back(absl::StripAsciiWhitespace(line));
      }
    }
    return absl::StrJoin(lines, "\n");
  }
  return "";
}

}  // namespace

std::string CommentOf(const pb::FieldDescriptor& field) {
  std::vector<int> path = PathOf(*field.containing_type());
  path.push_back(pb::DescriptorProto::kFieldFieldNumber);
  path.push_back(field.index());
  return CommentAt(*field.file(), path);
}

std::string CommentOf(const pb::Descriptor& message) {
  return CommentAt(*message.file(), PathOf(message));
}

}  // namespace hetero
