// As documented by its project, and no more of it than the app calls; nothing here runs.
package ai.onnxruntime;

public class TensorInfo implements ValueInfo {
    public final OnnxJavaType type;

    TensorInfo(OnnxJavaType type) {
        this.type = type;
    }

    public native long[] getShape();
}
