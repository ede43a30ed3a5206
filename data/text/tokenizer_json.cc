#include "hetero/data/text/tokenizer_json.h"

#include <cstddef>
#include <optional>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "hetero/base/status.h"
#include "hetero/data/text/byte_alphabet.h"
#include "nlohmann/json.hpp"

namespace hetero::data {
namespace {

using Json = nlohmann::json;

// Of the stages of published files; it bounds how deep pieces are cut.
constexpr size_t kMostStages = 64;
constexpr int64_t kLargestId = (int64_t{1} << 24) - 1;

// The words of GPT-2, which ByteLevel cuts by itself.
constexpr std::string_view kByteLevelWords =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

absl::Status Wrong(std::string_view field, std::string_view rule) {
  return absl::InvalidArgumentError(absl::StrCat(field, " ", rule));
}

// What a field holds, for messages.
std::string Shown(const Json& value) {
  constexpr size_t kLongest = 60;
  std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  if (text.size() > kLongest) text = absl::StrCat(text.substr(0, kLongest), "...");
  return text;
}

// Field `name` of the object `in`; null where it is not set.
// Null: `in` has no such member.
const Json* Find(const Json& in, const char* name) {
  const auto found = in.find(name);
  return found == in.end() ? nullptr : &*found;
}

// A copy of a small one; null where there is none.
Json Field(const Json& in, const char* name) {
  const Json* const found = Find(in, name);
  return found == nullptr ? Json() : *found;
}

absl::StatusOr<bool> Bool(const Json& in, const char* name, bool unset, std::string_view field) {
  const Json& value = Field(in, name);
  if (value.is_null()) return unset;
  if (!value.is_boolean()) {
    return Wrong(absl::StrCat(field, ".", name),
                 absl::StrCat("is ", Shown(value), ", must be true or false"));
  }
  return value.get<bool>();
}

absl::StatusOr<std::string> String(const Json& in, const char* name, std::string_view field) {
  const Json& value = Field(in, name);
  if (!value.is_string()) {
    return Wrong(absl::StrCat(field, ".", name),
                 absl::StrCat("is ", Shown(value), ", must be a string"));
  }
  return value.get<std::string>();
}

absl::StatusOr<int32_t> Id(const Json& value, std::string_view field) {
  // Unsigned numbers are integers here too, and may be beyond int64.
  const bool fits = value.is_number_integer() &&
                    !(value.is_number_unsigned() && value.get<uint64_t>() > kLargestId);
  if (!fits || value.get<int64_t>() < 0) {
    return Wrong(
        field, absl::StrFormat("is %s, must be an integer from 0 to %d", Shown(value), kLargestId));
  }
  return static_cast<int32_t>(value.get<int64_t>());
}

// The type of a part, of those in `known`.
absl::StatusOr<std::string> Type(const Json& part, std::string_view field,
                                 std::initializer_list<std::string_view> known) {
  if (!part.is_object()) {
    return Wrong(field, absl::StrCat("is ", Shown(part), ", must be an object"));
  }
  HETERO_ASSIGN_OR_RETURN(std::string type, String(part, "type", field));
  for (const std::string_view name : known) {
    if (type == name) return type;
  }
  return Wrong(absl::StrCat(field, ".type"),
               absl::StrCat("is ", type, ", supported is ", absl::StrJoin(known, ", ")));
}

// A part, or those of a Sequence, with their fields.
absl::StatusOr<std::vector<std::pair<const Json*, std::string>>> Parts(const Json& part,
                                                                       std::string_view field,
                                                                       const char* list) {
  std::vector<std::pair<const Json*, std::string>> parts;
  if (part.is_null()) return parts;
  if (!part.is_object() || Field(part, "type") != "Sequence") {
    parts.emplace_back(&part, field);
    return parts;
  }
  const Json* const items = Find(part, list);
  if (items == nullptr || !items->is_array() || items->size() > kMostStages) {
    return Wrong(absl::StrCat(field, ".", list),
                 absl::StrFormat("must be a list of at most %d", kMostStages));
  }
  for (size_t i = 0; i < items->size(); ++i) {
    parts.emplace_back(&(*items)[i], absl::StrFormat("%s.%s[%d]", field, list, i));
  }
  return parts;
}

absl::StatusOr<std::vector<AddedToken>> ReadAddedTokens(const Json& list) {
  std::vector<AddedToken> tokens;
  if (list.is_null()) return tokens;
  if (!list.is_array()) return Wrong("added_tokens", "must be a list");
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string field = absl::StrFormat("added_tokens[%d]", i);
    if (!list[i].is_object()) return Wrong(field, "must be an object");
    AddedToken token;
    HETERO_ASSIGN_OR_RETURN(token.content, String(list[i], "content", field));
    HETERO_ASSIGN_OR_RETURN(token.id, Id(Field(list[i], "id"), absl::StrCat(field, ".id")));
    HETERO_ASSIGN_OR_RETURN(token.single_word, Bool(list[i], "single_word", false, field));
    HETERO_ASSIGN_OR_RETURN(token.lstrip, Bool(list[i], "lstrip", false, field));
    HETERO_ASSIGN_OR_RETURN(token.rstrip, Bool(list[i], "rstrip", false, field));
    HETERO_ASSIGN_OR_RETURN(token.special, Bool(list[i], "special", false, field));
    HETERO_ASSIGN_OR_RETURN(token.normalized, Bool(list[i], "normalized", !token.special, field));
    // The reference never finds one either.
    if (!token.content.empty()) tokens.push_back(std::move(token));
  }
  return tokens;
}

absl::StatusOr<bool> ReadNormalizer(const Json& normalizer) {
  HETERO_ASSIGN_OR_RETURN(const auto parts, Parts(normalizer, "normalizer", "normalizers"));
  for (const auto& [part, field] : parts) {
    HETERO_RETURN_IF_ERROR(Type(*part, field, {"NFC"}));
  }
  return !parts.empty();
}

absl::StatusOr<SplitBehavior> ReadBehavior(const Json& split, std::string_view field) {
  HETERO_ASSIGN_OR_RETURN(const std::string name, String(split, "behavior", field));
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  return Wrong(absl::StrCat(field, ".behavior"),
               absl::StrCat("is ", name,
                            ", must be one of Isolated, Removed, MergedWithPrevious, "
                            "MergedWithNext, Contiguous"));
}

absl::StatusOr<SplitStage> ReadSplit(const Json& split, std::string_view field) {
  const Json& pattern = Field(split, "pattern");
  const bool is_regex = pattern.is_object() && Field(pattern, "Regex").is_string();
  if (!is_regex && (!pattern.is_object() || !Field(pattern, "String").is_string())) {
    return Wrong(absl::StrCat(field, ".pattern"), "must be an object with Regex or String");
  }
  absl::StatusOr<Regex> regex =
      is_regex ? Regex::Compile(pattern["Regex"].get_ref<const std::string&>())
               : Regex::CompileLiteral(pattern["String"].get_ref<const std::string&>());
  HETERO_RETURN_IF_ERROR(regex.status()).With(absl::StrCat(field, ".pattern"));
  HETERO_ASSIGN_OR_RETURN(const SplitBehavior behavior, ReadBehavior(split, field));
  HETERO_ASSIGN_OR_RETURN(const bool invert, Bool(split, "invert", false, field));
  return SplitStage{.regex = *std::move(regex), .behavior = behavior, .invert = invert};
}

absl::StatusOr<SplitStage> ReadDigits(const Json& digits, std::string_view field) {
  HETERO_ASSIGN_OR_RETURN(const bool individual, Bool(digits, "individual_digits", false, field));
  HETERO_ASSIGN_OR_RETURN(Regex regex, Regex::Compile(individual ? "\\p{N}" : "\\p{N}+"));
  return SplitStage{.regex = std::move(regex)};
}

absl::StatusOr<SplitStage> ReadByteLevel(const Json& part, std::string_view field) {
  HETERO_ASSIGN_OR_RETURN(const bool add_prefix, Bool(part, "add_prefix_space", true, field));
  HETERO_ASSIGN_OR_RETURN(const bool use_regex, Bool(part, "use_regex", true, field));
  // Without an expression of its own it cuts nothing.
  HETERO_ASSIGN_OR_RETURN(Regex regex, Regex::Compile(use_regex ? kByteLevelWords : "(?!)"));
  return SplitStage{.regex = std::move(regex), .add_prefix_space = add_prefix};
}

absl::Status ReadPreTokenizer(const Json& pre_tokenizer, TokenizerJson& out) {
  constexpr std::string_view kNeeded = "; its last must be ByteLevel, other kinds are no bytes";
  HETERO_ASSIGN_OR_RETURN(const auto parts, Parts(pre_tokenizer, "pre_tokenizer", "pretokenizers"));
  if (parts.empty()) return Wrong("pre_tokenizer", absl::StrCat("has no part", kNeeded));
  for (size_t i = 0; i < parts.size(); ++i) {
    const auto& [part, field] = parts[i];
    HETERO_ASSIGN_OR_RETURN(const std::string type,
                            Type(*part, field, {"Split", "Digits", "ByteLevel"}));
    const bool is_last = i + 1 == parts.size();
    if ((type == "ByteLevel") != is_last) {
      return Wrong(absl::StrCat(field, ".type"), absl::StrCat("is ", type, kNeeded));
    }
    HETERO_ASSIGN_OR_RETURN(SplitStage stage, type == "Split"    ? ReadSplit(*part, field)
                                              : type == "Digits" ? ReadDigits(*part, field)
                                                                 : ReadByteLevel(*part, field));
    out.adds_prefix_space = stage.add_prefix_space;
    out.stages.push_back(std::move(stage));
  }
  return absl::OkStatus();
}

absl::Status CheckDecoder(const Json& decoder) {
  HETERO_ASSIGN_OR_RETURN(const auto parts, Parts(decoder, "decoder", "decoders"));
  if (parts.size() != 1) return Wrong("decoder", "must be ByteLevel");
  return Type(*parts[0].first, parts[0].second, {"ByteLevel"}).status();
}

// Settings of BPE that byte-level vocabularies have no use for.
absl::Status CheckUnused(const Json& model) {
  const Json& dropout = Field(model, "dropout");
  if (!dropout.is_null() && dropout != 0.0) {
    return Wrong("model.dropout", absl::StrCat("is ", Shown(dropout),
                                               ", must be null: encoding is no random thing"));
  }
  for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const Json& value = Field(model, name);
    if (!value.is_null() && value != "") {
      return Wrong(absl::StrCat("model.", name),
                   absl::StrCat("is ", Shown(value), ", must be null in a byte-level vocabulary"));
    }
  }
  HETERO_ASSIGN_OR_RETURN(const bool fallback, Bool(model, "byte_fallback", false, "model"));
  if (fallback) {
    return Wrong("model.byte_fallback",
                 "is true, must be false: supported are byte-level vocabularies; give the "
                 "SentencePiece model where there is one");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<TokenizerJson::Token>> ReadVocabulary(const Json& vocabulary) {
  if (!vocabulary.is_object()) return Wrong("model.vocab", "must map tokens to ids");
  std::vector<TokenizerJson::Token> tokens;
  tokens.reserve(vocabulary.size());
  for (const auto& [name, id_value] : vocabulary.items()) {
    HETERO_ASSIGN_OR_RETURN(const int32_t id,
                            Id(id_value, absl::StrCat("model.vocab of ", Shown(Json(name)))));
    std::optional<std::string> bytes = BytesOfToken(name);
    const bool is_bytes = bytes.has_value() && !bytes->empty();
    tokens.push_back({.name = name,
                      .bytes = is_bytes ? *std::move(bytes) : name,
                      .is_bytes = is_bytes,
                      .id = id});
  }
  return tokens;
}

// A merge is "left right" or [left, right].
absl::StatusOr<std::pair<std::string, std::string>> ReadMerge(const Json& merge,
                                                              std::string_view field) {
  std::vector<std::string> names;
  if (merge.is_string()) {
    names = absl::StrSplit(merge.get_ref<const std::string&>(), ' ');
  } else if (merge.is_array()) {
    for (const Json& name : merge) {
      if (name.is_string()) names.push_back(name.get<std::string>());
    }
  }
  if (names.size() != 2 || (merge.is_array() && merge.size() != 2)) {
    return Wrong(field, absl::StrCat("is ", Shown(merge), ", must be two tokens"));
  }
  std::optional<std::string> left = BytesOfToken(names[0]), right = BytesOfToken(names[1]);
  if (!left.has_value() || !right.has_value()) {
    return Wrong(field,
                 absl::StrCat("is ", Shown(merge), ", must be of characters that stand for bytes"));
  }
  return std::make_pair(*std::move(left), *std::move(right));
}

absl::Status ReadModel(const Json* found, TokenizerJson& out) {
  if (found == nullptr || !found->is_object()) return Wrong("model", "is not set");
  const Json& model = *found;
  // Old files name no type.
  if (!Field(model, "type").is_null()) {
    HETERO_RETURN_IF_ERROR(Type(model, "model", {"BPE"}));
  }
  HETERO_RETURN_IF_ERROR(CheckUnused(model));
  HETERO_ASSIGN_OR_RETURN(out.ignores_merges, Bool(model, "ignore_merges", false, "model"));
  const Json none;
  const Json* const vocabulary = Find(model, "vocab");
  HETERO_ASSIGN_OR_RETURN(out.vocabulary,
                          ReadVocabulary(vocabulary == nullptr ? none : *vocabulary));
  const Json* const merges = Find(model, "merges");
  if (merges == nullptr || !merges->is_array()) {
    return Wrong("model.merges", "must be a list of pairs of tokens");
  }
  out.merges.reserve(merges->size());
  for (size_t i = 0; i < merges->size(); ++i) {
    HETERO_ASSIGN_OR_RETURN(auto merge,
                            ReadMerge((*merges)[i], absl::StrFormat("model.merges[%d]", i)));
    out.merges.push_back(std::move(merge));
  }
  return absl::OkStatus();
}

// Every id is one token's, and a token that is added has the id that the vocabulary gives it.
absl::Status CheckIds(const TokenizerJson& file) {
  absl::flat_hash_map<int32_t, std::string_view> names;
  for (const TokenizerJson::Token& token : file.vocabulary) {
    const auto [other, is_new] = names.emplace(token.id, token.name);
    if (!is_new) {
      return Wrong("model.vocab",
                   absl::StrFormat("has the id %d twice, for %s and %s", token.id,
                                   Shown(Json(other->second)), Shown(Json(token.name))));
    }
  }
  absl::flat_hash_map<std::string_view, int32_t> ids;
  for (const TokenizerJson::Token& token : file.vocabulary) ids.emplace(token.name, token.id);
  for (const AddedToken& token : file.added_tokens) {
    const std::string shown = Shown(Json(token.content));
    const auto [named, is_new_name] = ids.emplace(token.content, token.id);
    if (!is_new_name && named->second != token.id) {
      return Wrong("added_tokens", absl::StrFormat("has %s with the id %d, it has the id %d too",
                                                   shown, token.id, named->second));
    }
    const auto [other, is_new_id] = names.emplace(token.id, token.content);
    if (!is_new_id && other->second != token.content) {
      return Wrong("added_tokens", absl::StrFormat("has %s with the id %d, which is that of %s",
                                                   shown, token.id, Shown(Json(other->second))));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TokenizerJson> ParseTokenizerJson(std::string_view json) {
  Json root;
  try {
    root = Json::parse(json);
  } catch (const Json::exception& error) {
    return absl::InvalidArgumentError(error.what());
  }
  if (!root.is_object()) return Wrong("the file", "is no JSON object");
  TokenizerJson file;
  HETERO_ASSIGN_OR_RETURN(file.added_tokens, ReadAddedTokens(Field(root, "added_tokens")));
  HETERO_ASSIGN_OR_RETURN(file.normalizes, ReadNormalizer(Field(root, "normalizer")));
  HETERO_RETURN_IF_ERROR(ReadModel(Find(root, "model"), file));
  HETERO_RETURN_IF_ERROR(ReadPreTokenizer(Field(root, "pre_tokenizer"), file));
  HETERO_RETURN_IF_ERROR(CheckDecoder(Field(root, "decoder")));
  HETERO_RETURN_IF_ERROR(CheckIds(file));
  return file;
}

}  // namespace hetero::data
