// Looks like the TensorFlow Lite schema to the sources under test.
#pragma once
namespace tflite {
struct Model;
inline const Model* GetModel(const void* data) { return static_cast<const Model*>(data); }
}  // namespace tflite
