// As documented by its project, and no more of it than the app calls; nothing here runs.
package ai.onnxruntime;

import java.nio.ByteBuffer;

public class OnnxTensor extends OnnxTensorLike {
    public static native OnnxTensor createTensor(
            OrtEnvironment env, ByteBuffer data, long[] shape, OnnxJavaType type) throws OrtException;

    public native ByteBuffer getByteBuffer();
}
