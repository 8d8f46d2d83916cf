// Looks like TensorFlow Lite Micro's resolver to the app; whatever is registered, the test's interpreter has.
#pragma once
enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1 };
namespace tflite {
template <unsigned int kCount>
class MicroMutableOpResolver {
 public:
#include "methods.inc"
};
}  // namespace tflite
