#ifndef HETERO_DATA_FILE_SHELL_WORD_H_
#define HETERO_DATA_FILE_SHELL_WORD_H_

// Names in commands that messages give to be typed.

#include <string>
#include <string_view>

namespace hetero::data {

// `text` as one word of a POSIX shell, quoted where it has to be.
std::string ShellWord(std::string_view text);

}  // namespace hetero::data

#endif  // HETERO_DATA_FILE_SHELL_WORD_H_
