#include "hetero/comm/processes/gloo_transport.h"

#include <gloo/transport/context.h>
#include <gloo/transport/pair.h>
#include <gloo/transport/tcp/attr.h>
#include <gloo/transport/tcp/device.h>
#include <gloo/transport/unbound_buffer.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <exception>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"

namespace hetero::internal {
namespace {

// Both ends are in Connect at about the same time.
constexpr std::chrono::milliseconds kConnectTime = std::chrono::seconds(20);
// Waits end by Interrupt.
constexpr std::chrono::milliseconds kForever = std::chrono::hours(24 * 365);

absl::Status Guard(absl::FunctionRef<void()> call) {
  try {
    call();
  } catch (const std::exception& error) {
    return absl::UnavailableError(error.what());
  }
  return absl::OkStatus();
}

// Gloo writes with writev, which has no flag for it.
void IgnoreBrokenPipes() {
  struct sigaction action = {};
  if (sigaction(SIGPIPE, nullptr, &action) != 0 || action.sa_handler != SIG_DFL) return;
  action.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &action, nullptr);
}

class GlooMessage final : public PendingMessage {
 public:
  GlooMessage(std::unique_ptr<gloo::transport::UnboundBuffer> buffer, bool is_send)
      : buffer_(std::move(buffer)), is_send_(is_send) {}

  gloo::transport::UnboundBuffer& buffer() { return *buffer_; }

  absl::Status Wait() override {
    bool came = false;
    HETERO_RETURN_IF_ERROR(Guard([&] {
      // Gloo forgets an interruption with the wait that it ended.
      came = !interrupted_.load() &&
             (is_send_ ? buffer_->waitSend(kForever) : buffer_->waitRecv(kForever));
    }));
    return came ? absl::OkStatus() : absl::CancelledError("interrupted");
  }

  void Interrupt() override {
    interrupted_.store(true);
    is_send_ ? buffer_->abortWaitSend() : buffer_->abortWaitRecv();
  }

 private:
  const std::unique_ptr<gloo::transport::UnboundBuffer> buffer_;
  const bool is_send_;
  std::atomic<bool> interrupted_ = false;
};

class Transport final : public GlooTransport {
 public:
  Transport(std::shared_ptr<gloo::transport::Device> device,
            std::shared_ptr<gloo::transport::Context> context, int64_t world_size)
      : device_(std::move(device)),
        context_(std::move(context)),
        is_open_(static_cast<size_t>(world_size)) {}

  absl::StatusOr<std::string> Open(GlobalRank peer) override {
    std::string address;
    HETERO_RETURN_IF_ERROR(Guard([&] {
      const std::vector<char> bytes = context_->createPair(Index(peer))->address().bytes();
      address.assign(bytes.begin(), bytes.end());
    }));
    is_open_[static_cast<size_t>(peer.value())] = true;
    return address;
  }

  bool IsOpen(GlobalRank peer) const override {
    return is_open_[static_cast<size_t>(peer.value())];
  }

  absl::Status Connect(GlobalRank peer, const std::string& opened) override {
    return Guard([&] {
      context_->getPair(Index(peer))->connect(std::vector<char>(opened.begin(), opened.end()));
    });
  }

  absl::StatusOr<std::unique_ptr<PendingMessage>> Send(GlobalRank peer, uint64_t slot,
                                                       const void* data, int64_t bytes) override {
    // Gloo takes one kind of pointer for both directions.
    return Post(peer, slot, const_cast<void*>(data), bytes, /*is_send=*/true);
  }
  absl::StatusOr<std::unique_ptr<PendingMessage>> Receive(GlobalRank peer, uint64_t slot,
                                                          void* data, int64_t bytes) override {
    return Post(peer, slot, data, bytes, /*is_send=*/false);
  }

 private:
  static int Index(GlobalRank rank) { return static_cast<int>(rank.value()); }

  absl::StatusOr<std::unique_ptr<PendingMessage>> Post(GlobalRank peer, uint64_t slot, void* data,
                                                       int64_t bytes, bool is_send) {
    std::unique_ptr<GlooMessage> message;
    HETERO_RETURN_IF_ERROR(Guard([&] {
      message = std::make_unique<GlooMessage>(
          context_->createUnboundBuffer(data, static_cast<size_t>(bytes)), is_send);
      is_send ? message->buffer().send(Index(peer), slot)
              : message->buffer().recv(Index(peer), slot);
    }));
    return message;
  }

  const std::shared_ptr<gloo::transport::Device> device_;
  const std::shared_ptr<gloo::transport::Context> context_;
  std::vector<bool> is_open_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<GlooTransport>> GlooTransport::Create(GlobalRank rank,
                                                                     int64_t world_size,
                                                                     const std::string& address) {
  IgnoreBrokenPipes();
  std::shared_ptr<gloo::transport::Device> device;
  std::shared_ptr<gloo::transport::Context> context;
  HETERO_RETURN_IF_ERROR(Guard([&] {
    gloo::transport::tcp::attr attributes;
    attributes.hostname = address;
    device = gloo::transport::tcp::CreateDevice(attributes);
    context = device->createContext(static_cast<int>(rank.value()), static_cast<int>(world_size));
    context->setTimeout(kConnectTime);
  })).With(absl::StrCat("messages at ", address));
  return std::make_unique<Transport>(std::move(device), std::move(context), world_size);
}

}  // namespace hetero::internal
