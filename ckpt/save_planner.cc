#include "hetero/ckpt/save_planner.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/fnv.h"
#include "hetero/base/status.h"
#include "nlohmann/json.hpp"

namespace hetero {
namespace {

using Json = nlohmann::json;

// What must be the same on all ranks, and the structure of a rank's own state.
struct Header {
  uint64_t description = 0;
  uint64_t cached_plan = 0;  // 0: none
  std::string request;       // readable
  bool has_common = false;
};

std::string ToBytes(const Header& header) {
  std::string bytes;
  Json::to_cbor(
      Json::array({header.description, header.cached_plan, header.request, header.has_common}),
      bytes);
  return bytes;
}

absl::StatusOr<std::vector<Header>> ParseHeaders(const std::vector<std::string>& all) {
  std::vector<Header> headers;
  for (const std::string& bytes : all) {
    const Json json = Json::from_cbor(bytes, true, /*allow_exceptions=*/false);
    if (!json.is_array() || json.size() != 4) {
      return absl::DataLossError("what a rank said of its save did not arrive whole");
    }
    headers.push_back({json[0].get<uint64_t>(), json[1].get<uint64_t>(), json[2].get<std::string>(),
                       json[3].get<bool>()});
  }
  return headers;
}

// The first member whose value differs from that of member 0.
template <typename T, typename Value>
std::optional<size_t> FirstThatDiffers(const std::vector<T>& all, Value value) {
  for (size_t i = 1; i < all.size(); ++i) {
    if (value(all[i]) != value(all[0])) return i;
  }
  return std::nullopt;
}

absl::Status CheckHeaders(const std::vector<Header>& headers) {
  const auto request = [](const Header& header) -> const std::string& { return header.request; };
  if (const std::optional<size_t> other = FirstThatDiffers(headers, request)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "rank 0 saves ", headers[0].request, " and rank ", *other, " ", headers[*other].request));
  }
  for (size_t i = 1; i < headers.size(); ++i) {
    if (!headers[i].has_common) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("rank ", i,
                     " has common state, which only rank 0 may have, as it alone writes it; what a "
                     "branch owns is an object"));
  }
  return absl::OkStatus();
}

CheckpointState WithoutValues(const CheckpointState& state) {
  CheckpointState structure;
  for (const CheckpointTensor& tensor : state.tensors) {
    CheckpointTensor& copy = structure.tensors.emplace_back();
    copy = {.key = tensor.key,
            .dtype = tensor.dtype,
            .shape = tensor.shape,
            .padded_rows = tensor.padded_rows};
    for (const CheckpointTensor::Piece& piece : tensor.pieces) {
      copy.pieces.push_back({.box = piece.box, .main = piece.main, .constant = piece.constant});
    }
  }
  for (const CheckpointObject& object : state.objects) {
    structure.objects.push_back({.name = object.name, .main = object.main});
  }
  return structure;
}

}  // namespace

absl::Status SavePlanner::Update(const CheckpointState& state, std::string_view directory,
                                 const SaveOptions& options) {
  if (description_ == 0 || !IsLike(described_, state)) {
    description_ = Fnv1a(DescribeState(state));
    described_ = WithoutValues(state);
  }
  const Header own{
      .description = description_,
      .cached_plan = plan_hash_,
      .request = absl::StrCat("iteration ", options.iteration, options.agreed.empty() ? "" : " ",
                              options.agreed, " as ", options.save_id, " into ", directory,
                              " in chunks of ", options.max_chunk_bytes, " bytes"),
      .has_common = exchange_.rank() != 0 && !(options.common.empty() && options.state.empty())};
  HETERO_ASSIGN_OR_RETURN(const std::vector<std::string> bytes,
                          exchange_.AllGather(ToBytes(own), "checkpoint.header"));
  HETERO_ASSIGN_OR_RETURN(const std::vector<Header> headers, ParseHeaders(bytes));
  HETERO_RETURN_IF_ERROR(CheckHeaders(headers));
  std::vector<uint64_t> descriptions;
  for (const Header& header : headers) descriptions.push_back(header.description);
  const auto cached_plan = [](const Header& header) { return header.cached_plan; };
  // Every rank decides this alike: what it remembers of the others, all remember.
  cached_ = own.cached_plan != 0 && descriptions == descriptions_;
  HETERO_ASSIGN_OR_RETURN(const std::vector<std::string> agree,
                          exchange_.AllGather(cached_ ? "1" : "0", "checkpoint.cached"));
  cached_ = std::ranges::count(agree, "1") == std::ssize(agree) &&
            !FirstThatDiffers(headers, cached_plan).has_value();
  if (cached_) return absl::OkStatus();

  plan_hash_ = 0;
  HETERO_ASSIGN_OR_RETURN(const std::vector<std::string> all,
                          exchange_.AllGather(DescribeState(state), "checkpoint.plan"));
  HETERO_ASSIGN_OR_RETURN(plan_, MakeWorldPlan(all, Distribution::kSave));
  const std::string hash = absl::StrCat(plan_.Hash());
  HETERO_ASSIGN_OR_RETURN(const std::vector<std::string> hashes,
                          exchange_.AllGather(hash, "checkpoint.hash"));
  const auto self = [](const std::string& text) -> const std::string& { return text; };
  if (const std::optional<size_t> other = FirstThatDiffers(hashes, self)) {
    return absl::InternalError(absl::StrCat("rank ", *other, " has another plan (", hashes[*other],
                                            ") than rank 0 (", hashes[0],
                                            ") of the same descriptions"));
  }
  descriptions_ = std::move(descriptions);
  plan_hash_ = plan_.Hash();
  return absl::OkStatus();
}

}  // namespace hetero
