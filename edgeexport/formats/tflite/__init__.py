"""TFLite, for LiteRT, tflite-runtime and TFLite Micro."""
