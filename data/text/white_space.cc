#include "hetero/data/text/white_space.h"

#include <algorithm>
#include <array>
#include <cstddef>

namespace hetero::data {
namespace {

constexpr std::array<std::string_view, 25> kCharacters = {
    " ",      "\t",     "\n",     "\v",     "\f",     "\r",     "\u0085", "\u00a0", "\u1680",
    "\u2000", "\u2001", "\u2002", "\u2003", "\u2004", "\u2005", "\u2006", "\u2007", "\u2008",
    "\u2009", "\u200a", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000"};

// Bytes of the white space at an end of a text, which `has` looks at; 0 where there is none.
template <typename Has>
size_t SpaceAt(Has has) {
  const auto* const found = std::ranges::find_if(kCharacters, has);
  return found == kCharacters.end() ? 0 : found->size();
}

}  // namespace

std::string_view WithoutLeadingSpace(std::string_view text) {
  const auto has = [&](std::string_view space) { return text.starts_with(space); };
  while (const size_t size = SpaceAt(has)) text.remove_prefix(size);
  return text;
}

std::string_view WithoutTrailingSpace(std::string_view text) {
  const auto has = [&](std::string_view space) { return text.ends_with(space); };
  while (const size_t size = SpaceAt(has)) text.remove_suffix(size);
  return text;
}

}  // namespace hetero::data
