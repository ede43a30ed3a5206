#include "hetero/ckpt/exchange.h"

#include <algorithm>
#include <utility>

#include "absl/log/check.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"

namespace hetero {
namespace {

constexpr DType kWord = DType::kI32;

int64_t Words(int64_t bytes) { return (bytes + SizeOf(kWord) - 1) / SizeOf(kWord); }

std::vector<int32_t> ToWords(std::string_view bytes, int64_t words) {
  std::vector<int32_t> result(words);
  std::copy_n(bytes.data(), bytes.size(), reinterpret_cast<char*>(result.data()));
  return result;
}

TensorView View(std::vector<int32_t>& words) {
  return TensorView(words.data(), kWord, {static_cast<int64_t>(words.size())});
}

}  // namespace

Exchange::Exchange(Communicator* communicator)
    : communicator_(communicator),
      no_workspace_(Arena::Counting(MemoryLabel::kWorkspace)),
      stream_(Device{}, no_workspace_) {}

absl::StatusOr<std::vector<std::string>> Exchange::AllGather(std::string_view mine,
                                                             std::string_view name) {
  if (communicator_ == nullptr) return std::vector<std::string>{std::string(mine)};
  const int64_t n = size();
  int64_t own_bytes = static_cast<int64_t>(mine.size());
  std::vector<int64_t> bytes(n);
  HETERO_RETURN_IF_ERROR(communicator_->AllGather(ConstTensorView(&own_bytes, DType::kI64, {1}),
                                                  TensorView(bytes.data(), DType::kI64, {n}),
                                                  stream_, name));
  const int64_t words = Words(*std::ranges::max_element(bytes));
  std::vector<std::string> all(n);
  if (words == 0) return all;
  std::vector<int32_t> own = ToWords(mine, words);
  std::vector<int32_t> gathered(n * words);
  HETERO_RETURN_IF_ERROR(communicator_->AllGather(View(own), View(gathered), stream_, name));
  for (int64_t i = 0; i < n; ++i) {
    all[i].assign(reinterpret_cast<const char*>(gathered.data() + i * words), bytes[i]);
  }
  return all;
}

absl::StatusOr<std::string> Exchange::Broadcast(std::string_view mine, int64_t root,
                                                std::string_view name) {
  if (communicator_ == nullptr) return std::string(mine);
  int64_t bytes = static_cast<int64_t>(mine.size());
  const GroupRank from(root);
  HETERO_RETURN_IF_ERROR(
      communicator_->Broadcast(TensorView(&bytes, DType::kI64, {1}), from, stream_, name));
  if (bytes == 0) return std::string();
  std::vector<int32_t> words =
      rank() == root ? ToWords(mine, Words(bytes)) : std::vector<int32_t>(Words(bytes));
  HETERO_RETURN_IF_ERROR(communicator_->Broadcast(View(words), from, stream_, name));
  return std::string(reinterpret_cast<const char*>(words.data()), bytes);
}

absl::Status Exchange::Transfer(std::span<const Send> sends, std::span<const Receive> receives,
                                std::string_view name) {
  if (communicator_ == nullptr) {
    CHECK(sends.empty() && receives.empty()) << name << ": messages of a rank that is alone";
    return absl::OkStatus();
  }
  // Tensors have no type of one byte: memory that no whole words fill goes by a copy.
  std::vector<std::vector<int32_t>> copies;
  copies.reserve(sends.size() + receives.size());
  std::vector<std::pair<std::span<std::byte>, size_t>> to_fill;
  std::vector<SendRequest> send_requests;
  for (const Send& send : sends) {
    const int64_t bytes = static_cast<int64_t>(send.bytes.size());
    const void* address = send.bytes.data();
    if (bytes % SizeOf(kWord) != 0) {
      const std::string_view text(static_cast<const char*>(address), bytes);
      address = copies.emplace_back(ToWords(text, Words(bytes))).data();
    }
    send_requests.push_back(
        {.peer = GroupRank(send.to), .tensor = ConstTensorView(address, kWord, {Words(bytes)})});
  }
  std::vector<ReceiveRequest> receive_requests;
  for (const Receive& receive : receives) {
    const int64_t bytes = static_cast<int64_t>(receive.bytes.size());
    void* address = receive.bytes.data();
    if (bytes % SizeOf(kWord) != 0) {
      to_fill.emplace_back(receive.bytes, copies.size());
      address = copies.emplace_back(Words(bytes)).data();
    }
    receive_requests.push_back(
        {.peer = GroupRank(receive.from), .tensor = TensorView(address, kWord, {Words(bytes)})});
  }
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<TransferHandle> transfer,
                          communicator_->Exchange(send_requests, receive_requests, stream_, name));
  HETERO_RETURN_IF_ERROR(transfer->Wait());
  for (const auto& [bytes, copy] : to_fill) {
    std::copy_n(reinterpret_cast<const std::byte*>(copies[copy].data()), bytes.size(),
                bytes.data());
  }
  return absl::OkStatus();
}

absl::Status Exchange::Agree(const absl::Status& mine, std::string_view name) {
  if (communicator_ == nullptr) return mine;
  // A code, then the message.
  const std::string own =
      mine.ok() ? "" : absl::StrCat(static_cast<int>(mine.code()), " ", mine.message());
  HETERO_ASSIGN_OR_RETURN(const std::vector<std::string> all, AllGather(own, name));
  const auto failed = [](const std::string& text) { return !text.empty(); };
  const auto first = std::ranges::find_if(all, failed);
  if (first == all.end()) return absl::OkStatus();
  const size_t space = first->find(' ');
  const auto code = static_cast<absl::StatusCode>(std::stoi(first->substr(0, space)));
  const int64_t others = std::ranges::count_if(all, failed) - 1;
  return absl::Status(
      code, absl::StrCat("rank ", communicator_->members()[first - all.begin()].value(), ": ",
                         first->substr(space + 1),
                         others == 0 ? "" : absl::StrCat("; and ", others, " other ranks")));
}

}  // namespace hetero
