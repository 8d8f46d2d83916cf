// As documented by its project, and no more of it than the app calls; nothing here runs.
package android.view;

public class View {
    public static final int VISIBLE = 0;
    public static final int GONE = 8;

    public interface OnClickListener {
        void onClick(View view);
    }

    public native void setOnClickListener(OnClickListener listener);

    public native void setVisibility(int visibility);

    public native int getVisibility();
}
