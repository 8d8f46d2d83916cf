// As documented by its project, and no more of it than the app calls; nothing here runs.
package ai.onnxruntime;

public interface OnnxValue extends AutoCloseable {
    ValueInfo getInfo();

    @Override
    void close();
}
