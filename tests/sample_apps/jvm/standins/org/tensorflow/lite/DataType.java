// As documented by its project, and no more of it than the app calls; nothing here runs.
package org.tensorflow.lite;

public enum DataType {
    FLOAT32,
    INT32,
    UINT8,
    INT64,
    STRING,
    BOOL,
    INT16,
    INT8
}
