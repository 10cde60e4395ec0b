"""A SavedModel becomes a function that runs fast on this machine; `app.predictor` makes a service's network of it.

    running            what all of these share: batches, alphas, places, LoadError
    devices            a CPU or a GPU, and which 16-bit numbers it multiplies
    runtimes           by OpenVINO or by TensorFlow
        |              precision          in float32 or 16 bits, and how close they are
        |              openvino_model     SavedModel -> the function, as OpenVINO reads and compiles it
        |              openvino_side_maps U²-Net's last step, for OpenVINO
        |              tensorflow_model   SavedModel -> the function by TensorFlow: a graph in a session of its own
        |              tensorflow_start   TensorFlow, imported without what serving does not need
        |              frozen_graph       SavedModel -> one graph whose weights are constants
        |              sixteen_bits       that graph in bfloat16 or float16
        |              graph_nodes        what these two share
    freed_memory       what loading has used goes back to the system

Only this package knows TensorFlow and OpenVINO.
"""
