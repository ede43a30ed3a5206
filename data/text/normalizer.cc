#include "hetero/data/text/normalizer.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#include "absl/log/check.h"

namespace hetero::data {
namespace {

// The lead byte of U+0300: below it nothing combines, and everything is in form C.
constexpr uint8_t kFirstThatCombines = 0xcc;

struct Free {
  void operator()(utf8proc_uint8_t* bytes) const { std::free(bytes); }
};

}  // namespace

std::string_view ToNfc(std::string_view text, std::string& storage) {
  if (std::ranges::all_of(text,
                          [](char c) { return static_cast<uint8_t>(c) < kFirstThatCombines; })) {
    return text;
  }
  utf8proc_uint8_t* bytes = nullptr;
  const utf8proc_ssize_t size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &bytes,
                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  const std::unique_ptr<utf8proc_uint8_t, Free> owner(bytes);
  if (size == UTF8PROC_ERROR_NOMEM) throw std::bad_alloc();
  CHECK_GE(size, 0) << utf8proc_errmsg(size);
  storage.assign(reinterpret_cast<const char*>(bytes), static_cast<size_t>(size));
  return storage;
}

}  // namespace hetero::data
