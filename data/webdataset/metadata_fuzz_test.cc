// Any bytes as each of the metadata files.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "hetero/data/webdataset/brace.h"
#include "hetero/data/webdataset/metadata.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hetero::data;  // NOLINT: the function lives outside the namespace
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  ParseDatasetInfo(text).IgnoreError();
  ParseDatasetInfoYaml(text).IgnoreError();
  ParseSplitConfig(text).IgnoreError();
  ParseSampleFields(text).IgnoreError();
  ExpandBraces(text.substr(0, 64)).IgnoreError();
  return 0;
}
