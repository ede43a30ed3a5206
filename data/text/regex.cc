#define PCRE2_CODE_UNIT_WIDTH 8

#include "hetero/data/text/regex.h"

#include <pcre2.h>

#include <array>
#include <cstdint>
#include <new>

#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"
#include "hetero/base/status.h"
#include "hetero/data/text/regex_dialect.h"

namespace hetero::data {
namespace {

// Published expressions have a few hundred bytes; a file may hold anything.
constexpr size_t kLongestExpression = 1 << 13;

// Steps of one search, and kilobytes. Published expressions take a few steps a character.
constexpr uint32_t kMatchLimit = 1'000'000;
constexpr uint32_t kHeapLimit = 1 << 16;

PCRE2_SPTR Bytes(std::string_view text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

std::string MessageOf(int error) {
  std::array<PCRE2_UCHAR, 256> message = {};
  pcre2_get_error_message(error, message.data(), message.size());
  return reinterpret_cast<const char*>(message.data());
}

}  // namespace

void Regex::Free::operator()(pcre2_real_code_8* code) const { pcre2_code_free(code); }

void Regex::Scratch::Free::operator()(pcre2_real_match_data_8* data) const {
  pcre2_match_data_free(data);
}

Regex::Scratch::Scratch() : data_(pcre2_match_data_create(1, nullptr)) {
  if (data_ == nullptr) throw std::bad_alloc();
}

absl::StatusOr<Regex> Regex::CompilePcre(std::string_view shown, std::string_view pcre) {
  if (pcre.size() > kLongestExpression) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "an expression has %d bytes, must have at most %d", pcre.size(), kLongestExpression));
  }
  // Limits at the front of an expression bound every search with it.
  const std::string limited =
      absl::StrFormat("(*LIMIT_MATCH=%d)(*LIMIT_HEAP=%d)(*LF)%s", kMatchLimit, kHeapLimit, pcre);
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* const code =
      pcre2_compile(Bytes(limited), limited.size(), PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C, &error,
                    &offset, nullptr);
  if (code == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrFormat("the expression \"%s\": %s", shown, MessageOf(error)));
  }
  Regex regex(shown, code);
  // Without machine code the interpreter runs; the result is the same.
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
  return regex;
}

absl::StatusOr<Regex> Regex::Compile(std::string_view expression) {
  absl::StatusOr<std::string> pcre = ToPcre(expression);
  HETERO_RETURN_IF_ERROR(pcre.status()).With(absl::StrFormat("the expression \"%s\"", expression));
  return CompilePcre(expression, *pcre);
}

absl::StatusOr<Regex> Regex::CompileLiteral(std::string_view text) {
  std::string pcre;
  for (const char c : text) {
    if (absl::ascii_ispunct(static_cast<unsigned char>(c))) pcre.push_back('\\');
    pcre.push_back(c);
  }
  return CompilePcre(text, pcre);
}

absl::StatusOr<std::optional<Regex::Match>> Regex::Find(std::string_view text, size_t from,
                                                        Scratch& scratch) const {
  pcre2_match_data* const data = scratch.data_.get();
  int found =
      pcre2_match(code_.get(), Bytes(text), text.size(), from, PCRE2_NO_UTF_CHECK, data, nullptr);
  if (found == PCRE2_ERROR_JIT_STACKLIMIT) {
    found = pcre2_match(code_.get(), Bytes(text), text.size(), from,
                        PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, data, nullptr);
  }
  if (found == PCRE2_ERROR_NOMATCH) return std::nullopt;
  if (found == PCRE2_ERROR_NOMEMORY) throw std::bad_alloc();
  if (found < 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("the expression \"%s\" on %d bytes of text from byte %d: %s", expression_,
                        text.size(), from, MessageOf(found)));
  }
  const PCRE2_SIZE* const range = pcre2_get_ovector_pointer(data);
  return Match{range[0], range[1]};
}

}  // namespace hetero::data
