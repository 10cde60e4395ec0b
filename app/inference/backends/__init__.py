"""A SavedModel becomes a function that runs fast on this machine; `app.inference.predictor` makes the service's of
it.

    select            by OpenVINO or by TensorFlow
    base              what all backends share: batches, alphas, where a network runs, LoadError
    devices           a CPU or a GPU, and which 16-bit numbers it multiplies
    precision         in float32, 16 or 8 bits, and how close they are
    openvino          SavedModel -> the function, as OpenVINO reads and compiles it
    openvino_graph    rewrites of the network that OpenVINO has read
    int8              quantisation with the artifact's own ranges
    compiled_cache    what OpenVINO has compiled, kept for the next start
    tensorflow        SavedModel -> the function by TensorFlow: a graph in a session of its own
    frozen_graph      SavedModel -> one graph whose weights are constants, in float32 or 16 bits

Only this package knows TensorFlow and OpenVINO.
"""
