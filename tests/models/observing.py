"""Both observed models of a format on this machine's runtime, as verification compares them."""

from edgeexport.devices.local import open_device
from edgeexport.verify.divergence import compare


def compare_here(observe, float32, quantized, folder, feeds, runtime, most=64):
    """What was observed, and the comparison."""
    folder.mkdir()
    observed = observe(float32, quantized, folder, most)
    result = compare(
        open_device(""),
        observed,
        [(feed, feed) for feed in feeds],
        runtime=runtime,
        model=quantized,
        threads=1,
        timeout_s=300,
    )
    return observed, result
