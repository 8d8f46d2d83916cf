// As documented by its project, and no more of it than the app calls; nothing here runs.
package android.widget;

public class Button extends TextView {}
