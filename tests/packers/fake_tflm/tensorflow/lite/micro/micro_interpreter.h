// Looks like TensorFlow Lite Micro's interpreter to the sources under test; the test says what it answers.
#pragma once
#include <cstddef>

#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
struct TfLiteTensor {
  struct {
    char* raw;
  } data;
};
namespace tflite {
struct Model;
class MicroInterpreter {
 public:
  template <typename Resolver>
  MicroInterpreter(const Model*, const Resolver&, unsigned char*, std::size_t) {}
  TfLiteStatus AllocateTensors() { return kTfLiteOk; }
  TfLiteStatus Invoke() { return Answer(sample_++) == 0 ? kTfLiteOk : kTfLiteError; }
  TfLiteTensor* input(int index) { return &(inputs_[index].data.raw = in_[index], inputs_[index]); }
  TfLiteTensor* output(int index) { return &(outputs_[index].data.raw = out_[index], outputs_[index]); }

 private:
  int Answer(int sample);
  int sample_ = 0;
  alignas(16) char in_[2][64] = {};
  alignas(16) char out_[2][64] = {};
  TfLiteTensor inputs_[2] = {};
  TfLiteTensor outputs_[2] = {};
};
}  // namespace tflite
