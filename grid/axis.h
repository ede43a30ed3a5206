#ifndef HETERO_GRID_AXIS_H_
#define HETERO_GRID_AXIS_H_

// The parallel axes of a module and sets of them.
//
// A module's ranks are factorized twice: the base view by tp, gtp_remat, cp, dp, pp and the expert
// view by expt_tp, ep, expt_gtp_remat, expt_dp, pp. Only pp belongs to both.

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

namespace hetero {

enum class Axis : uint8_t {
  kTp,            // tensor parallel
  kGtpRemat,      // weight shards gathered on use; the peers hold different samples
  kCp,            // context parallel
  kDp,            // data parallel
  kPp,            // pipeline parallel
  kExptTp,        // tensor parallel inside an expert
  kEp,            // expert parallel
  kExptGtpRemat,  // gtp_remat of the experts
  kExptDp,        // data parallel of the experts
};

inline constexpr int kNumAxes = 9;

// "tp", "expt_dp": the name a configuration uses.
std::string_view AxisName(Axis axis);

class AxisSet {
 public:
  constexpr AxisSet() = default;
  constexpr AxisSet(Axis axis) : bits_(Bit(axis)) {}  // NOLINT: an axis is a set of one
  constexpr AxisSet(std::initializer_list<Axis> axes) {
    for (Axis axis : axes) bits_ |= Bit(axis);
  }

  constexpr bool Contains(Axis axis) const { return (bits_ & Bit(axis)) != 0; }
  constexpr bool ContainsAll(AxisSet other) const { return (other.bits_ & ~bits_) == 0; }
  constexpr bool empty() const { return bits_ == 0; }
  constexpr AxisSet operator|(AxisSet other) const { return FromBits(bits_ | other.bits_); }
  constexpr AxisSet operator-(AxisSet other) const { return FromBits(bits_ & ~other.bits_); }
  constexpr bool operator==(const AxisSet&) const = default;

  // "{tp, dp}", in the order of the enum.
  std::string ToString() const;

 private:
  static constexpr uint16_t Bit(Axis axis) {
    return static_cast<uint16_t>(1u << static_cast<unsigned>(axis));
  }
  static constexpr AxisSet FromBits(unsigned bits) {
    AxisSet set;
    set.bits_ = static_cast<uint16_t>(bits);
    return set;
  }

  uint16_t bits_ = 0;
};

}  // namespace hetero

#endif  // HETERO_GRID_AXIS_H_
