// Looks like TensorFlow Lite Micro's interpreter to the app; its kernels are TensorFlow Lite Micro's own, at the other end
// of two pipes: inputs go out on descriptor 3, outputs come in on descriptor 4.
#pragma once
#include <unistd.h>

#include <cstddef>
#include <cstdint>

#include "golden.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"

struct TfLiteTensor {
  union {
    std::int8_t* int8;
  } data;
  std::size_t bytes;
};

namespace tflite {
struct Model;

class MicroInterpreter {
 public:
  template <typename Resolver>
  MicroInterpreter(const Model*, const Resolver&, unsigned char* arena, std::size_t size)
      : size_(size),
        input_{{reinterpret_cast<std::int8_t*>(arena)}, MODEL::kInput0Size},
        output_{{reinterpret_cast<std::int8_t*>(arena) + MODEL::kInput0Size}, MODEL::kOutput0Size} {}
  TfLiteStatus AllocateTensors() { return input_.bytes + output_.bytes <= size_ ? kTfLiteOk : kTfLiteError; }
  TfLiteStatus Invoke() {
    std::size_t sent = 0, got = 0;
    while (sent < input_.bytes) {
      const ssize_t count = write(3, input_.data.int8 + sent, input_.bytes - sent);
      if (count <= 0) return kTfLiteError;
      sent += static_cast<std::size_t>(count);
    }
    while (got < output_.bytes) {
      const ssize_t count = read(4, output_.data.int8 + got, output_.bytes - got);
      if (count <= 0) return kTfLiteError;
      got += static_cast<std::size_t>(count);
    }
    return kTfLiteOk;
  }
  TfLiteTensor* input(int) { return &input_; }
  TfLiteTensor* output(int) { return &output_; }
  std::size_t arena_used_bytes() const { return input_.bytes + output_.bytes; }

 private:
  std::size_t size_;
  TfLiteTensor input_, output_;
};
}  // namespace tflite
