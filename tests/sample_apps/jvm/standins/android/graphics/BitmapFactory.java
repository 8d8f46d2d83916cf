// As documented by its project, and no more of it than the app calls; nothing here runs.
package android.graphics;

public class BitmapFactory {
    public static class Options {
        public Bitmap.Config inPreferredConfig;
        public boolean inPremultiplied;
    }

    public static native Bitmap decodeByteArray(byte[] data, int offset, int length, Options opts);
}
