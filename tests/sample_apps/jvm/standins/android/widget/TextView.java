// As documented by its project, and no more of it than the app calls; nothing here runs.
package android.widget;

import android.view.View;

public class TextView extends View {
    public native CharSequence getText();

    public final native void setText(CharSequence text);
}
