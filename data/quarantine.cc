#include "hetero/data/quarantine.h"

#include "absl/strings/str_cat.h"

namespace hetero::data {

void MakeBlank(int64_t index, LanguageSample& out) {
  out.name = absl::StrCat(index, " (in quarantine)");
  out.media.clear();
  out.text.clear();
  out.labels.clear();
}

absl::Status QuarantinedSource::ReadLanguage(int64_t index, LanguageSample& out) {
  if (!quarantine_->Has(index)) return source_->ReadLanguage(index, out);
  MakeBlank(index, out);
  return absl::OkStatus();
}

absl::Status QuarantinedSource::ReadMedia(int64_t index, int modality, MediaBatch& out) {
  return quarantine_->Has(index) ? absl::OkStatus() : source_->ReadMedia(index, modality, out);
}

absl::Status QuarantinedSource::ReadFacts(int64_t index, SampleFacts& facts) {
  return quarantine_->Has(index) ? absl::OkStatus() : source_->ReadFacts(index, facts);
}

}  // namespace hetero::data
