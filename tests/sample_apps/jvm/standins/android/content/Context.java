// As documented by its project, and no more of it than the app calls; nothing here runs.
package android.content;

import android.content.res.AssetManager;

public class Context {
    public native AssetManager getAssets();

    public native ContentResolver getContentResolver();
}
