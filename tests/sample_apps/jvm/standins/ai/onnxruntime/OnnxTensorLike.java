// As documented by its project, and no more of it than the app calls; nothing here runs.
package ai.onnxruntime;

public abstract class OnnxTensorLike implements OnnxValue {
    @Override
    public native TensorInfo getInfo();

    @Override
    public native void close();
}
