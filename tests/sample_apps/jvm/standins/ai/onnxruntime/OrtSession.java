// As documented by its project, and no more of it than the app calls; nothing here runs.
package ai.onnxruntime;

import java.util.Iterator;
import java.util.Map;

public class OrtSession implements AutoCloseable {
    public static class SessionOptions implements AutoCloseable {
        public native void setIntraOpNumThreads(int numThreads) throws OrtException;

        @Override
        public native void close();
    }

    public static class Result implements AutoCloseable, Iterable<Map.Entry<String, OnnxValue>> {
        @Override
        public native Iterator<Map.Entry<String, OnnxValue>> iterator();

        @Override
        public native void close();
    }

    public native Result run(Map<String, ? extends OnnxTensorLike> inputs) throws OrtException;

    @Override
    public native void close() throws OrtException;
}
