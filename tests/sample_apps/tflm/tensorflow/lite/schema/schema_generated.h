// Looks like the TensorFlow Lite schema to the app.
#pragma once
namespace tflite {
struct Model {
  int version() const { return 3; }
};
inline const Model* GetModel(const void* data) { return static_cast<const Model*>(data); }
}  // namespace tflite
