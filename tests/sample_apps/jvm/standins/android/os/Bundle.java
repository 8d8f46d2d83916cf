// As documented by its project, and no more of it than the app calls; nothing here runs.
package android.os;

public final class Bundle {}
