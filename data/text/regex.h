#ifndef HETERO_DATA_TEXT_REGEX_H_
#define HETERO_DATA_TEXT_REGEX_H_

// A compiled regular expression over UTF-8.

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

struct pcre2_real_code_8;
struct pcre2_real_match_data_8;

namespace hetero::data {

// Does not change once it is made; any number of threads use it, each with a scratch of its own.
class Regex {
 public:
  struct Match {
    size_t begin;
    size_t end;
  };

  // Working memory of any expression.
  class Scratch {
   public:
    Scratch();

   private:
    friend class Regex;
    struct Free {
      void operator()(pcre2_real_match_data_8* data) const;
    };
    std::unique_ptr<pcre2_real_match_data_8, Free> data_;
  };

  // `expression`: what ToPcre (regex_dialect.h) takes.
  // Errors: INVALID_ARGUMENT naming what is wrong and where; for one that is too large to be fast
  // too.
  static absl::StatusOr<Regex> Compile(std::string_view expression);

  // What stands for itself.
  static absl::StatusOr<Regex> CompileLiteral(std::string_view text);

  // The first match in `text` that begins at `from` or later; look-behind sees what is before.
  // Precondition: `text` is UTF-8 and `from` a border of characters.
  // Errors: INVALID_ARGUMENT where the search takes far more steps than text is long.
  absl::StatusOr<std::optional<Match>> Find(std::string_view text, size_t from,
                                            Scratch& scratch) const;

 private:
  struct Free {
    void operator()(pcre2_real_code_8* code) const;
  };

  Regex(std::string_view expression, pcre2_real_code_8* code)
      : expression_(expression), code_(code) {}
  static absl::StatusOr<Regex> CompilePcre(std::string_view shown, std::string_view pcre);

  std::string expression_;
  std::unique_ptr<pcre2_real_code_8, Free> code_;
};

}  // namespace hetero::data

#endif  // HETERO_DATA_TEXT_REGEX_H_
