// As documented by its project, and no more of it than the app calls; nothing here runs.
package ai.onnxruntime;

public final class OrtEnvironment implements AutoCloseable {
    public static native OrtEnvironment getEnvironment();

    public native OrtSession createSession(byte[] modelArray, OrtSession.SessionOptions options) throws OrtException;

    @Override
    public native void close();
}
