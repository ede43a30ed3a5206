#ifndef HETERO_MODELS_TESTING_GOLDEN_FILE_H_
#define HETERO_MODELS_TESTING_GOLDEN_FILE_H_

// Reads tensors that a script beside the test wrote with another implementation: little-endian f32
// without a header, one tensor after another.

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <ios>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/matchers.h"

namespace hetero {

class GoldenFile {
 public:
  // `path` from the root of the repository.
  explicit GoldenFile(std::string path) : path_(std::move(path)), file_(path_, std::ios::binary) {}

  std::vector<float> Next(int64_t count) {
    std::vector<float> values(count);
    file_.read(reinterpret_cast<char*>(values.data()),
               static_cast<std::streamsize>(count * sizeof(float)));
    EXPECT_TRUE(file_.good()) << path_ << " is missing or short";
    return values;
  }

  // Values of `parameters`, a range of pointers to Parameter, in its order.
  template <typename Parameters>
  void ReadValues(const Parameters& parameters) {
    for (const auto& parameter : parameters) {
      std::ranges::copy(Next(parameter->value.num_elements()),
                        parameter->value.template values<float>().begin());
    }
  }

  // Their gradients are those of the file, where they have any.
  template <typename Parameters>
  void ExpectGradients(const Parameters& parameters, const ErrorSpec& spec) {
    for (const auto& parameter : parameters) {
      if (parameter->gradient.is_null()) continue;
      EXPECT_THAT(parameter->gradient.template values<float>(),
                  IsCloseTo(Next(parameter->gradient.num_elements()), spec))
          << parameter->spec->name;
    }
  }

  bool AtEnd() { return file_.peek() == std::ifstream::traits_type::eof(); }

 private:
  std::string path_;
  std::ifstream file_;
};

}  // namespace hetero

#endif  // HETERO_MODELS_TESTING_GOLDEN_FILE_H_
