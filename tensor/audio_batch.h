#ifndef HETERO_TENSOR_AUDIO_BATCH_H_
#define HETERO_TENSOR_AUDIO_BATCH_H_

// Clips of a microbatch, and how many rows an encoder makes of them: what the feed counts with and
// the model computes with.

#include <cstdint>
#include <span>

#include "hetero/base/rounding.h"
#include "hetero/tensor/view.h"

namespace hetero {

// N = sum over clips of their lengths, clip after clip, in order of time.
struct AudioBatch {
  ConstTensorView frames;            // [N, mels]: log-mel spectrograms
  std::span<const int32_t> lengths;  // host: frames of each clip, at least 1
};

// Rows that a convolution of three taps leaves of `rows` with a zero on both sides: a row for every
// place 0, stride, 2 stride ... of its middle tap. Precondition: rows >= 0, stride >= 1.
constexpr int64_t ConvolvedRows(int64_t rows, int64_t stride) { return CeilDiv(rows, stride); }

// Rows that an audio encoder makes of a clip: its second convolution takes every other frame.
constexpr int64_t AudioRows(int64_t frames) { return ConvolvedRows(frames, 2); }

}  // namespace hetero

#endif  // HETERO_TENSOR_AUDIO_BATCH_H_
