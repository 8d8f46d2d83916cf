// Looks like TensorFlow Lite Micro's resolver to the sources under test, and counts.
#pragma once
enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1 };
namespace tflite {
inline int registered = 0;
template <unsigned int kCount>
class MicroMutableOpResolver {
 public:
#ifdef ALL_METHODS
#include "methods.inc"
#else
  TfLiteStatus AddConv2D() { return Add(); }
  TfLiteStatus AddFullyConnected() { return Add(); }
#endif

 private:
  TfLiteStatus Add() { return ++registered > static_cast<int>(kCount) ? kTfLiteError : kTfLiteOk; }
};
}  // namespace tflite
