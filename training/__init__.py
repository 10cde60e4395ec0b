"""Makes the SavedModels that the service serves. Where things are:

    config          a run as a TOML document (configs/*.toml)
    losses          deep supervision on soft alphas
    metrics         P3M-10k's metrics of one matte: SAD, MSE, MAD, GRAD, CONN; and IoU

    cli/            the commands, a file each for `train`, `inspect`, `evaluate`, `export` and what belongs to them

    data/           folders of photos and mattes -> batches
        dataset         folders -> pairs of paths
        images, masks   files -> upright photos and mattes: the only readers, for all that follows
        findings        what can be wrong with a pair
        fingerprint     which pictures a run is trained on
        cache           pictures decoded and shrunk once
        augmentation    crop, turn, mirror, second person, new background, colour, blur, JPEG, noise
        input_pipeline  pairs -> batches (tf.data), the same however a run is cut or shared

    weights/        U²-Net's weights, in memory and in files
        layout, storage     many weights as one vector; in 32, 16 or 8 bits, as an artifact stores them
        artifact_weights    an artifact's weights read again
        batch_norm          fused for training, folded for inference, its statistics measured again from photos
        official            the official names, their order, and the architecture behind channel counts
        file_formats        what a file is, by its content; pytorch_checkpoint, onnx_weights read it

    engine/         the training run
        trainer             phases, steps, validations, checkpoints, signals
        train_step          one compiled step: gradient, all-reduce, clip, AdamW, average
        optimizer, state    AdamW and the learning rate; the run's vectors
        run_dir             a run's directory is claimed for one document, set of pictures and first weights
        checkpoints         last and best; exact resume
        distributed         one device, many, or many hosts
        validation          mattes of the validation pairs while the run goes on
        callbacks, progress, history    TensorBoard, the bar, history.csv and its curves
        tensorflow_start    keeps TensorFlow's start-up notes back

    evaluation/     an artifact, or any tool's mattes, against true mattes
        predict, protocol, crops    mattes as served or as P3M-10k's own test makes them; what of a picture counts
        evaluate, report            figures over a split; a page with the worst mattes
        score                       two folders of mattes

    inspection/     a look at a data set before hours are spent on it
        inspect, pair_checks        everything that is wrong, pair by pair
        view, contact_sheet         the same for a terminal; the pictures themselves
        readiness                   `train` looks at its pairs once, before the first step

    export/         networks -> files
        artifact, parity_images     SavedModel and manifest, compared with the network before it is written
        trimming                    a SavedModel without what serving does not need
        calibration                 ranges for 8 bits, and what 8 bits cost
        import_weights, to_onnx     other people's weights -> artifact; artifact -> ONNX

The path of one training image: config -> data.dataset -> data.input_pipeline -> data.augmentation -> model.u2net ->
losses -> engine.train_step -> engine.checkpoints -> export.artifact -> evaluation.evaluate.

Never imports app/. Between the sub-packages imports go one way, as tests/test_boundaries.py has it:
data and weights know no other; engine, inspection and evaluation use these two; export uses engine and evaluation.
"""

import os

# On CPUs without AVX-512 TensorFlow leaves oneDNN out, and its own kernels have no gradients of dilated convolutions.
# Read when TensorFlow is first imported.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
