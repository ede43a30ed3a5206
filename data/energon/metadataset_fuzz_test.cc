// Any bytes as a metadataset file.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "hetero/data/energon/metadataset.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  hetero::data::ParseMetadataset({reinterpret_cast<const char*>(data), size}).IgnoreError();
  return 0;
}
