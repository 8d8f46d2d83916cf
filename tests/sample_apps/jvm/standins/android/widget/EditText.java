// As documented by its project, and no more of it than the app calls; nothing here runs.
package android.widget;

import android.text.Editable;

public class EditText extends TextView {
    @Override
    public native Editable getText();
}
