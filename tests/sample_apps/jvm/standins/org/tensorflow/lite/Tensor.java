// As documented by its project, and no more of it than the app calls; nothing here runs.
package org.tensorflow.lite;

public interface Tensor {
    DataType dataType();

    int[] shape();
}
