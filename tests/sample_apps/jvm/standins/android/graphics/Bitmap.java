// As documented by its project, and no more of it than the app calls; nothing here runs.
package android.graphics;

public final class Bitmap {
    public enum Config {
        ALPHA_8,
        RGB_565,
        ARGB_8888
    }

    public native int getWidth();

    public native int getHeight();

    public native void getPixels(int[] pixels, int offset, int stride, int x, int y, int width, int height);
}
