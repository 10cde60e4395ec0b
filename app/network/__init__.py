"""A SavedModel becomes a function that runs fast on this machine; `app.predictor` makes a service's network of it.

    session            the function: a graph in a TensorFlow session of its own
        |              tensorflow_start   TensorFlow, imported without what serving does not need
        |              frozen_graph       SavedModel -> one graph whose weights are constants
    for CPUs with bfloat16, each a rewriting of that graph:
                       rewritings         the first four, one after the other
                       normalisation      what is done to the pixels, in two passes
                       side_maps          U²-Net's last step as one product of matrices
                       thin_convolutions  several pixels at once where there is one channel
                       upsampling         resizing as products of matrices
                       fusion             oneDNN's operations, which do several steps in one
                       bfloat16           16-bit numbers
                       graph_nodes        what these share
                       freed_memory       what loading has used goes back to the system

Only this package and the predictor know TensorFlow.
"""
