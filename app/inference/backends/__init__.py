"""Run a SavedModel fast on this machine; `app.inference.predictor` builds the service's models on it.

    select            OpenVINO or TensorFlow
    base              what all backends share: batches, alphas, ExecutionConfig, LoadError
    devices           a CPU or a GPU, and the 8- and 16-bit types that it multiplies natively
    precision         float32, 16 or 8 bits, and how close their alphas are
    openvino          run a SavedModel by OpenVINO
    openvino_graph    rewrites of the network that OpenVINO has read
    int8              quantisation with the artifact's own ranges
    compiled_cache    cache of what OpenVINO compiles, for the next start
    tensorflow        run a SavedModel by TensorFlow: a graph in a session of its own
    frozen_graph      a SavedModel as one graph whose weights are constants, in float32 or 16 bits

Only this package knows TensorFlow and OpenVINO.
"""
