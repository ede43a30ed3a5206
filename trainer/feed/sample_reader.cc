#include "hetero/trainer/feed/sample_reader.h"

#include "hetero/base/status.h"

namespace hetero {

absl::Status SampleReader::Read(data::SampleSource& source, int64_t index, bool language,
                                const std::vector<int>& modalities) {
  for (ModalityFacts& modality : facts_.modalities) {
    modality.num_tokens = 0;
    modality.runs.clear();
    modality.sizes.clear();
  }
  HETERO_RETURN_IF_ERROR(source.ReadFacts(index, facts_));
  if (language) {
    HETERO_RETURN_IF_ERROR(source.ReadLanguage(index, text_));
  }
  for (const int modality : modalities) {
    media_.Clear(source.feature_width(modality));
    media_.BeginSample();
    HETERO_RETURN_IF_ERROR(source.ReadMedia(index, modality, media_));
  }
  return absl::OkStatus();
}

}  // namespace hetero
