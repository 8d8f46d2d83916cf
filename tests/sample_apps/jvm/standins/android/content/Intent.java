// As documented by its project, and no more of it than the app calls; nothing here runs.
package android.content;

import android.net.Uri;

public class Intent {
    public static final String ACTION_OPEN_DOCUMENT = "android.intent.action.OPEN_DOCUMENT";
    public static final String CATEGORY_OPENABLE = "android.intent.category.OPENABLE";

    public Intent(String action) {}

    public native Intent addCategory(String category);

    public native Intent setType(String type);

    public native String getType();

    public native Uri getData();
}
