// As documented by its project, and no more of it than the app calls; nothing here runs.
package android.app;

import android.content.Context;
import android.content.Intent;
import android.os.Bundle;
import android.view.View;

public class Activity extends Context {
    public static final int RESULT_OK = -1;

    protected native void onCreate(Bundle savedInstanceState);

    protected native void onDestroy();

    protected native void onActivityResult(int requestCode, int resultCode, Intent data);

    public native void setContentView(int layoutResID);

    public native <T extends View> T findViewById(int id);

    public final native void runOnUiThread(Runnable action);

    @Deprecated
    public native void startActivityForResult(Intent intent, int requestCode);
}
