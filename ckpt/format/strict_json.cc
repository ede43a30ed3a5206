#include "hetero/ckpt/format/strict_json.h"

#include <cstddef>
#include <limits>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"

namespace hetero {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxDepth = 64;

// Receives what the parser finds and builds the value.
class Builder {
 public:
  Json TakeValue() { return std::move(root_); }
  const std::string& error() const { return error_; }

  bool null() { return Add(nullptr); }
  bool boolean(bool value) { return Add(value); }
  bool number_integer(int64_t value) { return Add(value); }
  bool number_unsigned(uint64_t value) { return Add(value); }
  bool number_float(double value, const std::string&) { return Add(value); }
  bool string(std::string& value) { return Add(std::move(value)); }
  bool binary(Json::binary_t&) { return Fail("binary value"); }

  bool start_object(size_t) { return Open(Json::object()); }
  bool start_array(size_t) { return Open(Json::array()); }
  bool end_object() { return Close(); }
  bool end_array() { return Close(); }

  bool key(std::string& name) {
    Json& object = *open_.back();
    const size_t before = object.size();
    member_ = &object[name];
    return object.size() > before || Fail(absl::StrCat("the name ", Shortened(name), " twice"));
  }

  bool parse_error(size_t position, const std::string&, const Json::exception& error) {
    return Fail(absl::StrCat("byte ", position, ": ", error.what()));
  }

 private:
  bool Fail(std::string text) {
    if (error_.empty()) error_ = std::move(text);
    return false;
  }

  Json* Place(Json value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    if (open_.back()->is_array()) {
      open_.back()->push_back(std::move(value));
      return &open_.back()->back();
    }
    *member_ = std::move(value);
    return member_;
  }

  bool Add(Json value) {
    Place(std::move(value));
    return true;
  }

  bool Open(Json value) {
    if (open_.size() == kMaxDepth) return Fail(absl::StrCat("values deeper than ", kMaxDepth));
    open_.push_back(Place(std::move(value)));
    return true;
  }

  bool Close() {
    open_.pop_back();
    return true;
  }

  Json root_;
  std::vector<Json*> open_;
  Json* member_ = nullptr;
  std::string error_;
};

}  // namespace

absl::StatusOr<Json> ParseStrictJson(std::string_view text) {
  // The parser takes it for the end of the text.
  if (const size_t zero = text.find('\0'); zero != std::string_view::npos) {
    return absl::DataLossError(absl::StrCat("no valid JSON: byte ", zero + 1, " is 0"));
  }
  Builder builder;
  if (!Json::sax_parse(text.begin(), text.end(), &builder)) {
    return absl::DataLossError(absl::StrCat("no valid JSON: ", builder.error()));
  }
  return builder.TakeValue();
}

absl::StatusOr<int64_t> Int64Of(const Json& value, std::string_view name) {
  if (!value.is_number_unsigned() ||
      value.get<uint64_t>() > uint64_t{std::numeric_limits<int64_t>::max()}) {
    return absl::DataLossError(
        absl::StrCat(name, " must be an integer from 0 to 2^63 - 1, is ", Shortened(value)));
  }
  return value.get<int64_t>();
}

absl::StatusOr<std::vector<int64_t>> Int64sOf(const Json& value, std::string_view name) {
  if (!value.is_array()) {
    return absl::DataLossError(
        absl::StrCat(name, " must be an array of integers, is ", Shortened(value)));
  }
  std::vector<int64_t> integers;
  integers.reserve(value.size());
  for (const Json& item : value) {
    HETERO_ASSIGN_OR_RETURN(const int64_t integer, Int64Of(item, name));
    integers.push_back(integer);
  }
  return integers;
}

std::string Shortened(const Json& value) {
  constexpr size_t kLetters = 120;
  if (value.is_structured() && value.size() > kLetters) {
    return absl::StrCat(value.is_array() ? "an array" : "an object", " of ", value.size());
  }
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > kLetters) text = absl::StrCat(text.substr(0, kLetters), "...");
  return text;
}

}  // namespace hetero
