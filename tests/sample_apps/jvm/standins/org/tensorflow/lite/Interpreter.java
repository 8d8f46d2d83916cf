// As documented by its project, and no more of it than the app calls; nothing here runs.
package org.tensorflow.lite;

import java.nio.ByteBuffer;
import java.util.Map;

public final class Interpreter implements AutoCloseable {
    public static class Options {
        public native Options setNumThreads(int numThreads);
    }

    public Interpreter(ByteBuffer byteBuffer, Options options) {}

    public native String[] getSignatureKeys();

    public native String[] getSignatureInputs(String signatureKey);

    public native String[] getSignatureOutputs(String signatureKey);

    public native Tensor getInputTensorFromSignature(String inputName, String signatureKey);

    public native Tensor getOutputTensorFromSignature(String outputName, String signatureKey);

    public native void runSignature(Map<String, Object> inputs, Map<String, Object> outputs, String signatureKey);

    @Override
    public native void close();
}
